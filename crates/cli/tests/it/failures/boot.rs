//! VMs that do not come up, or do not end.

use crate::simulated::Simulated;
use crate::transcript::{piped, send};
use insta::assert_snapshot;
use rustix::process::Signal;

const CREATE: [&str; 4] = ["vm", "create", "--name", "otter"];

#[test]
fn a_vmm_that_ends_at_once_is_quoted() {
    let host = Simulated::new(&["--sim-guest", "vmm-dies"]);
    let said = host.refusal(&CREATE);
    assert_snapshot!(said, @r"
    error: could not prepare the host for `otter`
    caused by: `/sim/vmm` ended at once with exit code 1; it said: simulated VMM: could not start: simulated failure
    hint: the VMM's whole output is in [DIR]/s/failed/otter-[VM]-vmm.log
    hint: `banger vm logs --why otter` puts together what is known
    log: [DIR]/s/failed/otter-[VM]-vmm.log
    operation: [OP]
    ");
    host.assert_log_has(&said, "simulated");
    host.assert_nothing_is_left();
}

#[test]
fn a_guest_whose_kernel_panics_says_so() {
    let host = Simulated::new(&["--sim-guest", "panics"]);
    let said = host.refusal(&CREATE);
    assert_snapshot!(said, @r#"
    error: `otter` ended while it booted: the guest kernel panicked: simulated
    hint: the console ended with: [    0.000000] Linux version 6.1 (simulated) | banger-init: start {"uptime_ms":240,"version":"0.1.0"} | [    0.260000] Kernel panic - not syncing: simulated
    hint: `banger vm logs --why otter` puts together what is known
    log: [DIR]/s/failed/otter-[VM]-console.log
    operation: [OP]
    "#);
    host.assert_log_has(&said, "Kernel panic - not syncing");
    host.assert_nothing_is_left();
    // Of the VM nothing is left but what tells why.
    let why = host.banger(&["vm", "logs", "--why", "otter"]);
    assert!(why.contains("> [    0.260000] Kernel panic - not syncing: simulated"), "{why}");
}

#[test]
fn a_guest_without_a_root_disk_or_an_init_says_so() {
    for (stage, what) in [("root", "during root"), ("handover", "during handover")] {
        let host = Simulated::new(&["--sim-guest", &format!("fails-at:{stage}")]);
        let said = host.refusal(&CREATE);
        assert!(said.contains("error: `otter` ended while it booted: "), "{said}");
        host.assert_log_has(&said, "banger-init: failed ");
        let why = host.banger(&["vm", "logs", "--why", "otter"]);
        assert!(why.contains(what), "{why}");
        host.assert_nothing_is_left();
    }
    let host = Simulated::new(&["--sim-guest", "fails-at:root"]);
    assert_snapshot!(host.refusal(&CREATE), @r#"
    error: `otter` ended while it booted: simulated failure
    hint: the console ended with: banger-init: network {"uptime_ms":330} | banger-init: failed {"uptime_ms":420,"during":"root","error":"simulated failure"} | [    0.512000] reboot: Power down
    hint: `banger vm logs --why otter` puts together what is known
    log: [DIR]/s/failed/otter-[VM]-console.log
    operation: [OP]
    "#);
}

#[test]
fn a_wait_that_runs_out_says_what_was_reached_and_leaves_the_vm() {
    let host = Simulated::new(&["--sim-guest", "silent"]);
    let create = [&CREATE[..], &["--timeout", "1"]].concat();
    assert_snapshot!(host.refusal(&create), @r"
    error: `otter` was not ready within 1 s; it reached `vmm` and goes on booting
    hint: `banger vm logs -f otter` shows what it is doing
    hint: `--timeout` gives it longer
    hint: `banger vm logs --why otter` puts together what is known
    log: [DIR]/s/vms/[VM]/console.log
    operation: [OP]
    ");
    assert!(host.banger(&["vm", "list"]).contains("otter  running  vmm "));
}

#[test]
fn a_boot_order_that_is_refused_quotes_the_vmm() {
    let host = Simulated::new(&["--sim-fault", "boot"]);
    assert_snapshot!(host.refusal(&CREATE), @r"
    error: the VMM of `otter` did not do as asked
    caused by: the VMM refused `boot` (simulator): simulated fault: boot `[DIR]/r/[INSTANCE]/[VM]/api.sock`
    hint: read the end of the VM's `vmm.log`: the VMM's own messages are there
    hint: the VMM ended with: simulated VMM: started as 4194307
    hint: `banger vm logs --why otter` puts together what is known
    log: [DIR]/s/failed/otter-[VM]-vmm.log
    operation: [OP]
    ");
    host.assert_nothing_is_left();
}

#[test]
fn a_start_that_another_request_ends_says_so() {
    let host = Simulated::new(&["--sim-pace", "600000"]);
    let start = ["vm", "create", "--name", "otter", "--timeout", "600"];
    let create = piped(&mut host.call(&start));
    host.until_listed("otter  running ");
    host.does(&[&["vm", "kill", "otter"]]);
    assert_snapshot!(host.transcript(&create.wait_with_output().unwrap()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the start of `otter` was ended by another request
    hint: `banger vm show otter` tells how the VM is now
    operation: [OP]
    ");
}

#[test]
fn a_guest_that_does_not_end_is_killed_and_that_is_said() {
    let host = Simulated::new(&["--sim-guest", "ignores-shutdown"]);
    host.does(&[&CREATE]);
    assert_snapshot!(host.banger(&["vm", "stop", "otter", "--timeout", "1"]), @r"
    exit: 0
    --- stdout
    otter: stopped
    --- stderr
    note: `otter` was killed: the guest did not end within 1 s
    ");
    host.does(&[&["vm", "start", "otter"]]);
    assert_snapshot!(host.banger(&["vm", "kill", "otter"]), @r"
    exit: 0
    --- stdout
    otter: sent KILL
    --- stderr
    note: `otter` was killed with SIGKILL
    ");
}

#[test]
fn a_guest_that_dies_later_is_told_of_by_show_and_why() {
    let host = Simulated::new(&["--sim-guest", "dies-after-boot", "--sim-pace", "200"]);
    host.banger(&["vm", "create", "--name", "otter", "--wait", "none"]);
    host.until_listed("otter  stopped ");
    let shown = host.banger(&["vm", "show", "otter"]);
    let last = shown.lines().find(|line| line.starts_with("last error")).unwrap();
    assert_snapshot!(last, @"last error    the VMM ended with exit code 1");
    let why = host.banger(&["vm", "logs", "--why", "otter"]);
    assert!(
        why.contains("the end of what the console said ([DIR]/s/vms/[VM]/console.log)"),
        "{why}"
    );
}

#[test]
fn an_interrupted_create_says_what_becomes_of_it() {
    let host = Simulated::new(&["--sim-pace", "600000"]);
    let start = ["vm", "create", "--name", "otter", "--timeout", "600"];
    let create = piped(&mut host.call(&start));
    host.until_listed("otter  running ");
    send(&create, Signal::INT);
    assert_snapshot!(host.transcript(&create.wait_with_output().unwrap()), @r"
    exit: 130
    --- stdout
    --- stderr
    note: the daemon goes on with it; `banger vm list` shows how far it is
    ");
    host.does(&[&["vm", "delete", "otter"]]);
    host.assert_nothing_is_left();
}
