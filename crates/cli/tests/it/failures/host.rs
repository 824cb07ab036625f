//! Hosts that lack something, or on which others have taken it.

use crate::simulated::Simulated;
use insta::assert_snapshot;

const CREATE: [&str; 4] = ["vm", "create", "--name", "otter"];

/// What a create says on a host without these things, and that nothing was begun.
fn without(lack: &str) -> String {
    let host = Simulated::new(&["--sim-lack", lack]);
    let said = host.refusal(&CREATE);
    host.assert_nothing_is_left();
    let shown = host.banger(&["doctor", "--json"]);
    assert!(shown.starts_with("exit: 1\n"), "the doctor sees no failure: {shown}");
    said
}

#[test]
fn a_host_without_kvm_says_why_and_what_does_without() {
    assert_snapshot!(without("kvm"), @r#"
    error: Firecracker needs KVM: `/dev/kvm` does not exist
    hint: switch virtualisation on in the firmware's settings, load `kvm_intel` or `kvm_amd`, and let the daemon's user open `/dev/kvm`; or set `vmm = "qemu"`, which needs no KVM
    "#);
}

#[test]
fn a_host_without_a_vmm_names_its_package_or_setting() {
    assert_snapshot!(without("vmm"), @r"
    error: Firecracker is not installed: there is no `/usr/local/bin/firecracker`
    hint: install `firecracker`, or set `firecracker_bin` in the configuration file and start the daemon again
    ");
}

#[test]
fn a_host_without_tun_names_the_module() {
    assert_snapshot!(without("tun"), @r"
    error: no TAP interface can be made: /dev/net/tun cannot be opened: No such file or directory (os error 2)
    hint: load the module with `modprobe tun`; in a container, pass `/dev/net/tun` in
    ");
}

#[test]
fn a_host_without_a_program_names_its_package() {
    assert_snapshot!(without("nft"), @r"
    error: nftables is not installed: there is no program `nft`
    hint: install it with `apt install nftables`
    ");
    assert_snapshot!(without("mke2fs"), @r"
    error: no work disk can be made: there is no program `mke2fs`
    hint: install it with `apt install e2fsprogs`
    ");
}

#[test]
fn a_daemon_without_privileges_says_so() {
    assert_snapshot!(without("root"), @r"
    error: the daemon is not root, and may make neither interfaces nor firewall rules
    hint: stop it with `banger daemon stop`, and use `sudo banger`
    ");
}

#[test]
fn a_host_without_memory_for_the_vm_says_what_it_has() {
    assert_snapshot!(without("memory"), @r"
    error: a VM of 1 GiB does not fit: the host has 256.0 MiB with swap
    hint: give the VM less with `--memory`
    ");
}

#[test]
fn a_host_without_room_says_what_is_left() {
    assert_snapshot!(without("room"), @r"
    error: 1.0 MiB are left for disks, and a VM needs at least 16.0 MiB
    hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    ");
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    assert_snapshot!(without("kvm,tun,nft,room"), @r#"
    error: a VM cannot start on this host for 4 reasons
    caused by: Firecracker needs KVM: `/dev/kvm` does not exist
    caused by: no TAP interface can be made: /dev/net/tun cannot be opened: No such file or directory (os error 2)
    caused by: nftables is not installed: there is no program `nft`
    caused by: 1.0 MiB are left for disks, and a VM needs at least 16.0 MiB
    hint: switch virtualisation on in the firmware's settings, load `kvm_intel` or `kvm_amd`, and let the daemon's user open `/dev/kvm`; or set `vmm = "qemu"`, which needs no KVM
    hint: load the module with `modprobe tun`; in a container, pass `/dev/net/tun` in
    hint: install it with `apt install nftables`
    hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    "#);
    // A VM that is there fails in the same way, and stays.
    let mut host = Simulated::new(&[]);
    host.does(&[&["vm", "create", "--name", "otter", "--no-start"]]);
    host.restart(&["--sim-lack", "tun,nft"]);
    assert_snapshot!(host.refusal(&["vm", "start", "otter"]), @r"
    error: `otter` cannot start on this host for 2 reasons
    caused by: no TAP interface can be made: /dev/net/tun cannot be opened: No such file or directory (os error 2)
    caused by: nftables is not installed: there is no program `nft`
    hint: load the module with `modprobe tun`; in a container, pass `/dev/net/tun` in
    hint: install it with `apt install nftables`
    ");
    assert!(host.banger(&["vm", "list"]).contains("otter  created "));
}

#[test]
fn a_disk_that_runs_full_is_told_and_what_was_begun_is_undone() {
    let host = Simulated::new(&["--sim-capacity", "8G"]);
    assert_snapshot!(host.refusal(&CREATE), @r"
    error: could not prepare the host for `otter`
    caused by: could not extend `[DIR]/s/vms/[VM]/work.img`
    caused by: No space left on device (os error 28)
    hint: free some room, or delete VMs with `banger vm delete`
    operation: [OP]
    ");
    host.assert_nothing_is_left();
}

#[test]
fn a_network_that_is_somebody_elses_is_named() {
    let host = Simulated::new(&["--sim-link", "theirs0=172.16.0.1/24"]);
    assert_snapshot!(host.refusal(&CREATE), @r"
    error: could not prepare the network
    caused by: the bridge address 172.16.0.1/24 is in use: `theirs0` has 172.16.0.1/24
    hint: set another `bridge` and `subnet` in the configuration file
    operation: [OP]
    ");
    host.assert_nothing_is_left();
    let host = Simulated::new(&["--sim-link", "banger0"]);
    assert_snapshot!(host.refusal(&CREATE), @r"
    error: could not prepare the network
    caused by: `banger0` exists and is not this daemon's
    hint: set another `bridge` and `subnet` in the configuration file
    operation: [OP]
    ");
    host.assert_nothing_is_left();
}

#[test]
fn what_the_kernel_refuses_is_told_and_the_log_of_its_steps_is_named() {
    let host = Simulated::new(&["--sim-fault", "ensure:tap"]);
    assert_snapshot!(host.refusal(&CREATE), @r"
    error: could not prepare the host for `otter`
    caused by: simulated fault: ensure `b[INSTANCE]t[VM]`
    hint: `banger daemon logs --op [OP]` shows each step
    operation: [OP]
    ");
    host.assert_nothing_is_left();
}

#[test]
fn what_an_undo_leaves_is_named_and_goes_with_the_next_daemon() {
    let mut host = Simulated::new(&["--sim-fault", "ensure:tap,remove:initrd:1+"]);
    assert_snapshot!(host.banger(&CREATE), @r"
    exit: 1
    --- stdout
    --- stderr
    note: the undo is not complete: could not remove everything of `otter`: `[DIR]/s/vms/[VM]/initrd` is left: simulated fault: remove `[DIR]/s/vms/[VM]/initrd`
    error: could not prepare the host for `otter`
    caused by: simulated fault: ensure `b[INSTANCE]t[VM]`
    caused by: could not remove `[DIR]/s/vms/[VM]/initrd`: simulated fault: remove `[DIR]/s/vms/[VM]/initrd`
    hint: `[DIR]/s/vms/[VM]/initrd` is left; the daemon tries again when it starts
    operation: [OP]
    ");
    host.restart(&[]);
    host.assert_nothing_is_left();
}

#[test]
fn a_delete_that_cannot_remove_something_says_what_and_is_finished_later() {
    let mut host = Simulated::new(&["--sim-fault", "remove:tap:always"]);
    host.does(&[&CREATE]);
    assert_snapshot!(host.refusal(&["vm", "delete", "otter"]), @r"
    error: could not remove everything of `otter`: `b[INSTANCE]t[VM]` is left
    caused by: simulated fault: remove `b[INSTANCE]t[VM]`
    hint: the daemon tries again at its next start
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["vm", "start", "otter"]), @r"
    error: `otter` is half deleted: cannot start it
    hint: finish it with `banger vm delete otter`
    operation: [OP]
    ");
    host.restart(&[]);
    host.assert_nothing_is_left();
}

#[test]
fn a_port_that_is_taken_is_told_with_who_has_it() {
    let host = Simulated::new(&[]);
    host.does(&[&CREATE, &["vm", "create", "--name", "heron"]]);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let pid = std::process::id().to_string();
    let steady = |said: String| {
        let said = said.replace(&port, "[PORT]").replace(&format!("pid {pid}"), "pid [PID]");
        // The test's own program.
        said.lines()
            .map(|line| match line.split_once("is held by `") {
                Some((before, rest)) => {
                    format!("{before}is held by `[TEST]{}\n", &rest[rest.find('`').unwrap()..])
                }
                None => format!("{line}\n"),
            })
            .collect::<String>()
    };
    assert_snapshot!(steady(host.refusal(&["vm", "forward", "otter", &format!("{port}:80")])), @r"
    error: a port of the host cannot lead into a guest
    caused by: 127.0.0.1:[PORT]/tcp is held by `[TEST]` (pid [PID])
    hint: choose another port of the host, as in `8081:80`
    operation: [OP]
    ");
    drop(other);
    host.does(&[&["vm", "forward", "otter", &format!("{port}:80")]]);
    assert_snapshot!(steady(host.refusal(&["vm", "forward", "heron", &format!("{port}:80")])), @r"
    error: 127.0.0.1:[PORT]/tcp leads to port 80 of `otter` already
    hint: choose another port of the host, as in `8081:80`
    hint: `banger vm forward otter --remove [PORT]` frees it
    operation: [OP]
    ");
}

#[test]
fn a_work_disk_that_has_no_room_to_grow_is_refused_and_little_room_is_said() {
    let mut host = Simulated::new(&[]);
    host.does(&[&CREATE]);
    assert_snapshot!(host.banger(&["vm", "set", "otter", "--disk-size", "100G"]), @r"
    exit: 0
    --- stdout
    otter: changed
    --- stderr
    note: the work disk can take 92.0 GiB more, and 64.0 GiB are left: the guest's writes fail when that is used up
    note: the new sizes take effect when `otter` starts again
    ");
    host.restart(&["--sim-lack", "room"]);
    assert_snapshot!(host.refusal(&["vm", "set", "otter", "--disk-size", "120G"]), @r"
    error: 1.0 MiB are left, and a file system that grows writes up to 16.0 MiB
    hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    ");
    assert!(host.banger(&["vm", "show", "otter"]).contains("work disk     100 GiB\n"));
}
