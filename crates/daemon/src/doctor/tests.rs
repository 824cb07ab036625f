//! A bare host, a complete one and broken ones.

use super::*;
use crate::config::Key;
use banger_api::{ErrorBody, Setting, Verdict};
use banger_core::error::ErrorCode;
use banger_core::unit::{Bytes, MiB};
use banger_core::vm::{OverlayMethod, VmmKind};
use banger_host::facts::{Distribution, HostFacts, Memory};
use banger_image::bundle::{NamedBy, Part, Role};
use banger_vmm::KvmStatus;
use std::fmt::Write;

/// A host that has everything, and a bundle.
pub(crate) fn complete() -> Facts {
    let demand = Demand {
        memory: MiB::of(1024),
        overlay: OverlayMethod::DmSnapshot,
        disks: Disks::New,
        image: None,
        growth: None,
    };
    let image = banger_core::image::Image {
        name: "default".parse().unwrap(),
        kernel: "/s/bundle/vmlinux".into(),
        initrd: Some("/s/bundle/initrd".into()),
        rootfs: "/s/bundle/rootfs.ext4".into(),
        boot_args: Vec::new(),
    };
    let manifest = |role, path: &str| Part {
        role,
        path: path.into(),
        named_by: NamedBy::Manifest,
        record: None,
    };
    let parts = vec![
        manifest(Role::Kernel, "/s/bundle/vmlinux"),
        manifest(Role::Rootfs, "/s/bundle/rootfs.ext4"),
    ];
    Facts {
        version: VersionSaid::Line("Firecracker v1.14.1".to_owned()),
        images: Vec::new(),
        bundle: Some(BundleFacts { dir: "/s/bundle".into(), parts, image: Ok(image) }),
        settings: vec![
            setting(Key::Vmm, "BANGER_VMM", None),
            setting(Key::BundleDir, "/etc/b/config.toml", Some(7)),
        ],
        ..Facts::complete(demand)
    }
}

fn setting(key: Key, source: &str, line: Option<usize>) -> Setting {
    let (key, value) = (key.as_str().to_owned(), String::new());
    Setting { key, value, source: source.to_owned(), line }
}

/// A freshly installed host: nothing of what banger needs, and a user without privileges.
pub(crate) fn bare() -> Facts {
    let complete = complete();
    let host = HostFacts {
        root: false,
        kvm_opens: false,
        tun: Err("/dev/net/tun cannot be opened: No such file or directory".to_owned()),
        nft: None,
        mke2fs: None,
        bridge_filter: None,
        forwarding: Some(false),
        device_mapper: Err("`dmsetup` is not installed".to_owned()),
        ..complete.host
    };
    let demand = Demand { overlay: OverlayMethod::Copy, ..complete.demand };
    Facts {
        host,
        demand,
        kvm: KvmStatus::Unusable { reason: "`/dev/kvm` does not exist".to_owned() },
        vmm: VmmKind::Qemu,
        program: "/usr/bin/qemu-system-x86_64".into(),
        has_program: false,
        version: VersionSaid::NotAsked,
        bundle: None,
        ..complete
    }
}

/// All that is not well.
pub(super) fn amiss(facts: &Facts) -> String {
    let mut text = String::new();
    for check in SCOPES.into_iter().flat_map(|scope| examine(facts, scope)) {
        if check.verdict == Verdict::Pass {
            continue;
        }
        let (scope, name) = (check.scope, &check.name);
        let verdict = check.code.map_or_else(|| "warn".to_owned(), |code| format!("FAIL {code}"));
        writeln!(text, "{scope} {name}: {verdict}").unwrap();
        check.found.iter().for_each(|line| writeln!(text, "  {line}").unwrap());
        check.hints.iter().for_each(|hint| writeln!(text, "  hint: {hint}").unwrap());
    }
    text
}

fn with_host(change: impl FnOnce(&mut HostFacts)) -> Facts {
    let mut facts = complete();
    change(&mut facts.host);
    facts
}

#[test]
fn a_complete_host_passes_each_check_and_says_where_values_came_from() {
    let checks: Vec<String> = SCOPES
        .into_iter()
        .flat_map(|scope| examine(&complete(), scope))
        .map(|check| {
            assert_eq!((check.verdict, check.code), (Verdict::Pass, None), "{check:?}");
            let source = check.source.unwrap_or_default();
            format!("{} {}: {} <{source}>", check.scope, check.name, check.found.join(" | "))
        })
        .collect();
    insta::assert_snapshot!(checks.join("\n"), @r"
    vm vmm: firecracker: the host is simulated <vmm (BANGER_VMM)>
    vm firecracker: version 1.14.1 <firecracker_bin (default)>
    vm kvm: KVM can run a stock kernel here <>
    vm tun: TAP interfaces can be made <>
    vm privileges: the daemon is root <>
    vm memory: 64.0 GiB are available for VMs of 1 GiB <memory (default)>
    nat nft: /usr/sbin/nft <>
    nat filter: the kernel filters what crosses a bridge <>
    nat forwarding: the host forwards packets <nat (default)>
    ssh key: ssh/id_ed25519 <ssh_key_path (default)>
    bundle bundle: /s/bundle | kernel /s/bundle/vmlinux, by bundle.json | root file system /s/bundle/rootfs.ext4, by bundle.json <bundle_dir (/etc/b/config.toml:7)>
    import mke2fs: /usr/sbin/mke2fs <>
    import privileges: the daemon is root <>
    import room: 64.0 GiB are left for images <>
    disk overlay: dm-snapshot: the host is simulated <overlay (default)>
    disk mke2fs: /usr/sbin/mke2fs <>
    disk room: 64.0 GiB are left for disks <>
    growth room: 64.0 GiB are left for disks to grow <>
    ");
}

#[test]
fn a_bare_host_gets_the_remedy_for_each_thing() {
    insta::assert_snapshot!(amiss(&bare()), @r"
    vm vmm: FAIL missing_dependency
      QEMU is not installed: there is no `/usr/bin/qemu-system-x86_64`
      hint: install it with `apt install qemu-system-x86`, or set `qemu_bin` in the configuration file and start the daemon again
    vm kvm: warn
      guests are emulated in software, which is slow: `/dev/kvm` does not exist
      hint: switch virtualisation on in the firmware's settings, load `kvm_intel` or `kvm_amd`, and let the daemon's user open `/dev/kvm`
    vm tun: FAIL missing_dependency
      no TAP interface can be made: /dev/net/tun cannot be opened: No such file or directory
      hint: load the module with `modprobe tun`; in a container, pass `/dev/net/tun` in
    vm privileges: FAIL not_permitted
      the daemon is not root, and may make neither interfaces nor firewall rules
      hint: stop it with `banger daemon stop`, and use `sudo banger`
    nat nft: FAIL missing_dependency
      nftables is not installed: there is no program `nft`
      hint: install it with `apt install nftables`
    import mke2fs: FAIL missing_dependency
      no root file system can be written: there is no program `mke2fs`
      hint: install it with `apt install e2fsprogs`
    import privileges: FAIL not_permitted
      the daemon is not root, and may not make files of other owners, as a root file system has
      hint: stop it with `banger daemon stop`, and use `sudo banger`
    disk mke2fs: FAIL missing_dependency
      no work disk can be made: there is no program `mke2fs`
      hint: install it with `apt install e2fsprogs`
    ");
}

/// Hosts that lack one thing each, with the check that has to fail and what its hint has to name.
#[test]
fn on_six_broken_hosts_exactly_what_is_broken_fails() {
    let old = VersionSaid::Line("Firecracker v1.14.0".to_owned());
    let broken: [(&str, Facts, &[&str], &str); 6] = [
        ("no VMM", Facts { has_program: false, ..complete() }, &["vm vmm"], "firecracker"),
        ("an old VMM", Facts { version: old, ..complete() }, &["vm firecracker"], "1.14.1"),
        (
            "KVM that cannot be used",
            Facts {
                kvm: KvmStatus::Unusable { reason: "it is in use".to_owned() },
                ..with_host(|host| host.kvm_opens = false)
            },
            &["vm kvm"],
            "firmware",
        ),
        (
            "no TUN",
            with_host(|host| host.tun = Err("/dev/net/tun cannot be opened".to_owned())),
            &["vm tun"],
            "modprobe tun",
        ),
        ("no nft", with_host(|host| host.nft = None), &["nat nft"], "apt install nftables"),
        (
            "a full disk",
            with_host(|host| host.room = Ok(Bytes(0))),
            &["import room", "disk room", "growth room"],
            "vm delete",
        ),
    ];
    for (what, facts, checks, remedy) in broken {
        let amiss = amiss(&facts);
        let found: Vec<&str> = amiss.lines().filter(|line| !line.starts_with(' ')).collect();
        let found: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(found, checks, "{what}: {amiss}");
        let (_, hints) = amiss.split_once("  hint: ").unwrap_or_default();
        assert!(hints.contains(remedy), "{what}: {amiss}");
    }
}

#[test]
fn remedies_are_those_of_the_distribution() {
    for (distribution, command) in
        [(Distribution::Fedora, "`dnf install "), (Distribution::Arch, "`pacman -S ")]
    {
        let mut facts = bare();
        facts.host.distribution = distribution;
        let hints = amiss(&facts).matches(command).count();
        assert_eq!(hints, 4, "{}", amiss(&facts));
    }
}

#[test]
fn an_old_firecracker_is_warned_of() {
    let old = VersionSaid::Line("Firecracker v1.12.1".to_owned());
    insta::assert_snapshot!(amiss(&Facts { version: old, ..complete() }), @r"
    vm firecracker: warn
      version 1.12.1 is older than 1.14.1: its jailer has CVE-2026-1386
      hint: replace `/usr/local/bin/firecracker` by Firecracker 1.14.1 or later
    ");
    insta::assert_snapshot!(amiss(&Facts { version: VersionSaid::Nothing, ..complete() }), @r"
    vm firecracker: warn
      `/usr/local/bin/firecracker --version` names no version of Firecracker
      hint: replace it by Firecracker 1.14.1 or later
    ");
}

#[test]
fn firecracker_without_kvm_fails_and_qemu_is_slow() {
    let kvm = KvmStatus::Unusable { reason: "this user may not open `/dev/kvm`".to_owned() };
    let mut facts = Facts { kvm, ..with_host(|host| host.kvm_opens = false) };
    insta::assert_snapshot!(amiss(&facts), @r#"
    vm kvm: FAIL missing_dependency
      Firecracker needs KVM: this user may not open `/dev/kvm`
      hint: switch virtualisation on in the firmware's settings, load `kvm_intel` or `kvm_amd`, and let the daemon's user open `/dev/kvm`; or set `vmm = "qemu"`, which needs no KVM
    "#);
    facts.vmm = VmmKind::Qemu;
    assert!(amiss(&facts).starts_with("vm kvm: warn\n"), "{}", amiss(&facts));
    let facts = with_host(|host| host.kvm_opens = false);
    insta::assert_snapshot!(amiss(&facts), @r"
    vm kvm: FAIL missing_dependency
      `/dev/kvm` could be opened when the daemon started, and cannot now
      hint: start the daemon again, or mend `/dev/kvm`
    ");
}

#[test]
fn a_kernel_that_is_not_the_bundles_is_told_with_its_line_and_needs_modules_of_its_own() {
    let mut facts = complete();
    let bundle = facts.bundle.as_mut().unwrap();
    bundle.parts[0].path = "/k/vmlinux".into();
    bundle.parts[0].named_by = NamedBy::Setting {
        key: Key::DefaultKernel.as_str(),
        origin: "line 3 of `/etc/b/config.toml`".to_owned(),
    };
    facts.settings.push(setting(Key::DefaultKernel, "/etc/b/config.toml", Some(3)));
    let checks = examine(&facts, banger_api::Scope::Bundle);
    insta::assert_snapshot!(checks[0].found[1], @"kernel /k/vmlinux, by default_kernel in line 3 of /etc/b/config.toml");
    insta::assert_snapshot!(amiss(&facts), @r"
    bundle modules: warn
      the kernel is another than the bundle's, and the initrd is the bundle's
      hint: unless both are of one version, name an initrd with that kernel's modules in `default_initrd`
    ");
    facts.settings.push(setting(Key::DefaultInitrd, "/etc/b/config.toml", Some(4)));
    assert_eq!(amiss(&facts), "");
}

#[test]
fn a_program_that_the_configuration_names_is_told_with_its_line() {
    let mut facts = Facts { has_program: false, program: "/opt/fc".into(), ..complete() };
    facts.settings.push(setting(Key::FirecrackerBin, "/etc/b/config.toml", Some(3)));
    insta::assert_snapshot!(amiss(&facts), @r"
    vm vmm: FAIL missing_dependency
      there is no `/opt/fc`, which firecracker_bin (/etc/b/config.toml:3) names
      hint: set `firecracker_bin` to Firecracker's program, or remove it; then `banger daemon restart`
    ");
}

#[test]
fn a_key_of_the_users_own_has_a_remedy_of_its_own() {
    let mut facts = complete();
    facts.key = Err("`/k` has mode 0644, and ssh takes no key that others can read".to_owned());
    facts.settings.push(setting(Key::SshKeyPath, "/etc/b/config.toml", Some(3)));
    insta::assert_snapshot!(amiss(&facts), @r"
    ssh key: FAIL host
      VMs cannot be entered: `/k` has mode 0644, and ssh takes no key that others can read
      hint: put the key back with mode 0600; or name another in `ssh_key_path`, or remove that, and `banger daemon restart`
    ");
}

#[test]
fn a_bundle_that_cannot_be_used_keeps_its_causes_and_remedies() {
    let problem = ErrorBody {
        causes: vec!["`/s/bundle` does not exist".to_owned()],
        ..ErrorBody::plain(ErrorCode::BundleUnusable, "cannot use the runtime bundle")
    }
    .hint("build a bundle with `banger bundle build`");
    let mut facts = complete();
    facts.bundle.as_mut().unwrap().image = Err(problem);
    facts.lost = vec![("kernel", "/s/old/vmlinux".into())];
    insta::assert_snapshot!(amiss(&facts), @r"
    bundle bundle: FAIL bundle_unusable
      cannot use the runtime bundle
      `/s/bundle` does not exist
      hint: build a bundle with `banger bundle build`
    bundle image: FAIL image_unusable
      the kernel `/s/old/vmlinux` of the VM's image does not exist
      hint: put the file back, or build the bundle again with `banger bundle build`
    ");
}

#[test]
fn an_image_whose_file_is_gone_fails_and_one_whose_file_is_another_is_warned_of() {
    let image = |name: &str, is| ImageFacts {
        name: name.to_owned(),
        rootfs: format!("/i/{name}.ext4").into(),
        problem: None,
        was: Some(Bytes(4096)),
        is,
    };
    let lost = ErrorBody {
        causes: vec!["the root file system `/i/old.ext4` does not exist".to_owned()],
        ..ErrorBody::plain(ErrorCode::ImageUnusable, "cannot use the image `old`")
    };
    let images = vec![
        image("dev", Some(Bytes(4096))),
        image("edited", Some(Bytes(8192))),
        ImageFacts { problem: Some(lost), ..image("old", None) },
    ];
    insta::assert_snapshot!(amiss(&Facts { images, ..complete() }), @r"
    image edited: warn
      `/i/edited.ext4` had 4096 bytes when it became an image, and has 8192 now
      hint: put the file back: the disks of VMs that are layered over it are worth nothing over another; for new VMs register the new one under another name
    image old: FAIL image_unusable
      cannot use the image `old`
      the root file system `/i/old.ext4` does not exist
    ");
}

#[test]
fn a_kernel_without_the_filter_for_bridges_fails() {
    let facts = with_host(|host| host.bridge_filter = Some(Err("No such file".to_owned())));
    insta::assert_snapshot!(amiss(&facts), @r"
    nat filter: FAIL missing_dependency
      the kernel has no nftables filter for bridges: No such file
      hint: use a kernel with CONFIG_NF_TABLES_BRIDGE, as every distribution has one
    ");
}

#[test]
fn too_little_memory_and_room_are_told_apart_from_none() {
    let facts = with_host(|host| {
        host.memory = Some(Memory { total: Bytes(512 << 20), available: Bytes(100 << 20) });
        host.room = Ok(Bytes(1 << 20));
    });
    insta::assert_snapshot!(amiss(&facts), @r"
    vm memory: FAIL invalid_request
      a VM of 1 GiB does not fit: the host has 512.0 MiB with swap
      hint: give the VM less with `--memory`
    import room: FAIL no_space
      1.0 MiB are left, and an import needs 16.0 MiB at least
      hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    disk room: FAIL no_space
      1.0 MiB are left for disks, and a VM needs at least 16.0 MiB
      hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    growth room: FAIL no_space
      1.0 MiB are left, and a file system that grows writes up to 16.0 MiB
      hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    ");
    let facts = with_host(|host| {
        host.memory = Some(Memory { total: Bytes(8 << 30), available: Bytes(100 << 20) });
        host.room = Ok(Bytes(1 << 30));
    });
    insta::assert_snapshot!(amiss(&facts), @r"
    vm memory: warn
      100.0 MiB are available, less than a VM's 1 GiB
      hint: stop other VMs with `banger vm stop`, or give VMs less with `--memory`
    disk room: warn
      only 1.0 GiB are left for disks
      hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    ");
}

#[test]
fn a_dm_snapshot_without_device_mapper_fails_and_disks_that_are_there_need_no_room() {
    let mut facts = with_host(|host| {
        host.device_mapper = Err("`dmsetup` is not installed".to_owned());
        host.mke2fs = None;
        host.room = Ok(Bytes(0));
    });
    facts.demand.disks = Disks::Kept;
    insta::assert_snapshot!(amiss(&facts), @r#"
    import mke2fs: FAIL missing_dependency
      no root file system can be written: there is no program `mke2fs`
      hint: install it with `apt install e2fsprogs`
    import room: FAIL no_space
      0 B are left, and an import needs 16.0 MiB at least
      hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    disk overlay: FAIL missing_dependency
      root disks over a dm-snapshot need device-mapper: `dmsetup` is not installed
      hint: where `dmsetup` is missing, install it with `apt install dmsetup`; load the modules with `modprobe -a dm_snapshot loop`; new VMs do without after `overlay = "copy"` is set
    growth room: FAIL no_space
      0 B are left, and a file system that grows writes up to 16.0 MiB
      hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    "#);
}
