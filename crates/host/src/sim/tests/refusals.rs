//! What a kernel refuses, the simulator refuses; and what a kernel allows, it does.

use super::*;
use banger_core::error::{ErrorCode, Explain};
use banger_core::net::Subnet;
use banger_core::resource::SnapshotPart;
use rustix::io::Errno;

/// What the kernel says, for an error that is the kernel's.
fn errno(outcome: Result<Change, HostError>) -> Errno {
    match outcome.expect_err("a refusal") {
        HostError::Io { source, .. } => Errno::from_io_error(&source).expect("an errno"),
        other => panic!("not the kernel's: {other}"),
    }
}

fn kernel_says(action: &'static str, errno: Errno) -> HostError {
    HostError::Io { action, object: "a disk".to_owned(), source: errno.into() }
}

fn ensure(host: &SimHost, resources: impl IntoIterator<Item = Resource>) {
    for resource in resources {
        let _change = host.ensure(&resource).unwrap();
    }
}

#[test]
fn an_object_is_refused_where_what_it_stands_on_is_missing() {
    let lab = Lab::new();
    let host = lab.open();
    let of = |role| lab.resource(1, role);
    let files = [Role::RootClone, Role::RootCow, Role::RootTail, Role::WorkDisk, Role::Initrd];
    for role in files {
        assert_eq!(errno(host.ensure(&of(role))), Errno::NOENT, "{role:?}");
    }
    let error = host.ensure(&of(Role::Tap)).unwrap_err();
    assert!(error.to_string().ends_with("there is no bridge `banger0`"), "{error}");
    ensure(&host, [of(Role::VmDir)]);
    for part in [Role::RootCow, Role::RootTail] {
        assert_eq!(errno(host.ensure(&of(Role::RootSnapshot))), Errno::NOENT, "without {part:?}");
        ensure(&host, [of(part)]);
    }
    let _change = host.remove(&of(Role::RootCow)).unwrap();
    assert_eq!(errno(host.ensure(&of(Role::RootSnapshot))), Errno::NOENT);
    let _change = host.remove(&of(Role::RootTail)).unwrap();
    assert_eq!(errno(host.ensure(&of(Role::Vmm))), Errno::NOENT, "its socket has no directory");
    assert_eq!(roles(&host), [Role::VmDir]);
}

#[test]
fn a_bridge_and_a_tap_cannot_have_one_name() {
    let lab = Lab::new();
    let host = lab.open();
    let with_name = |name: IfName, subnet: &str| Resource::Bridge {
        name,
        subnet: subnet.parse().unwrap(),
        alias: lab.layout.bridge_alias(),
    };
    ensure(&host, lab.network());
    ensure(&host, [lab.resource(1, Role::Tap)]);
    let taken = with_name(lab.layout.tap(&vm_id(1)), "10.0.0.1/24");
    assert!(matches!(host.ensure(&taken), Err(HostError::Foreign { .. })));

    let odd = with_name(lab.layout.tap(&vm_id(2)), "10.0.0.1/24");
    ensure(&host, [odd]);
    let tap = lab.resource(2, Role::Tap);
    assert!(matches!(host.ensure(&tap), Err(HostError::Foreign { .. })));
}

#[test]
fn two_bridges_cannot_share_a_subnet() {
    let lab = Lab::new();
    let host = lab.open();
    let bridge = |name: &str, subnet: &str| Resource::Bridge {
        name: if_name(name),
        subnet: subnet.parse().unwrap(),
        alias: lab.layout.bridge_alias(),
    };
    ensure(&host, [bridge("one", "172.16.0.1/16")]);
    let error = host.ensure(&bridge("two", "172.16.9.1/24")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the bridge address 172.16.9.1/24 is in use: `one` has 172.16.0.1/16"
    );
    // Both are seen when a new name is configured.
    ensure(&host, [bridge("two", "10.0.0.1/24")]);
    assert_eq!(roles(&host), [Role::Bridge, Role::Bridge]);
}

#[test]
fn interfaces_of_others_keep_their_names_and_addresses() {
    let lab = Lab::new();
    let subnet: Subnet = "172.16.0.9/24".parse().unwrap();
    let host = lab.open_with(|options| {
        options.foreign_links = vec![
            ForeignLink { name: if_name("docker0"), subnet: Some(subnet) },
            ForeignLink { name: lab.layout.tap(&vm_id(1)), subnet: None },
        ];
    });
    let error = host.ensure(&lab.resource(1, Role::Bridge)).unwrap_err();
    assert!(matches!(error, HostError::AddressInUse { .. }), "{error}");
    assert_eq!(error.code(), ErrorCode::NetworkConflict);
    let error = host.ensure(&lab.resource(1, Role::Tap)).unwrap_err();
    assert!(matches!(error, HostError::Foreign { .. }), "{error}");
    let taken = Resource::Bridge {
        name: if_name("docker0"),
        subnet: "10.0.0.1/24".parse().unwrap(),
        alias: lab.layout.bridge_alias(),
    };
    assert!(matches!(host.ensure(&taken), Err(HostError::Foreign { .. })));
    assert!(matches!(host.remove(&taken), Err(HostError::Foreign { .. })));
}

#[test]
fn a_bridge_that_is_right_stays_when_another_interface_gets_its_address() {
    let lab = Lab::new();
    let bridge = lab.resource(1, Role::Bridge);
    ensure(&lab.open(), [bridge.clone()]);
    let subnet = "172.16.0.9/24".parse().unwrap();
    let host = lab.open_with(|options| {
        options.foreign_links = vec![ForeignLink { name: if_name("late0"), subnet: Some(subnet) }];
    });
    assert_eq!(host.ensure(&bridge).unwrap(), Change::Unchanged);
}

#[test]
fn a_tap_is_detached_when_its_bridge_goes_and_attached_by_the_next_ensure() {
    let lab = Lab::new();
    let host = lab.open();
    let (bridge, tap) = (lab.resource(1, Role::Bridge), lab.resource(1, Role::Tap));
    ensure(&host, [bridge.clone(), tap.clone()]);
    assert_eq!(host.tap_bridge(&vm_id(1)), Some(if_name("banger0")));
    assert_eq!(host.remove(&bridge).unwrap(), Change::Changed);
    assert_eq!(roles(&host), [Role::Tap]);
    assert!(matches!(host.ensure(&tap), Err(HostError::Refused { .. })));
    ensure(&host, [bridge]);
    assert_eq!(host.tap_bridge(&vm_id(1)), None);
    assert_eq!(host.ensure(&tap).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&tap).unwrap(), Change::Unchanged);
    assert_eq!(host.tap_bridge(&vm_id(1)), Some(if_name("banger0")));
}

#[test]
fn what_a_vmm_or_a_device_holds_is_busy() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let remove = |role| host.remove(&lab.resource(1, role));
    for role in [Role::RootSnapshot, Role::RootCow, Role::RootTail, Role::WorkDisk] {
        assert_eq!(errno(remove(role)), Errno::BUSY, "{role:?}");
    }
    assert_eq!(remove(Role::Vmm).unwrap(), Change::Changed);
    for part in [Role::RootCow, Role::RootTail] {
        assert_eq!(errno(remove(part)), Errno::BUSY, "the device holds {part:?}");
    }
    assert_eq!(remove(Role::RootSnapshot).unwrap(), Change::Changed);
    for part in [Role::RootCow, Role::RootTail] {
        assert_eq!(remove(part).unwrap(), Change::Changed);
    }
}

#[test]
fn a_disk_is_taken_once_and_from_nobody_who_has_it_open() {
    let lab = Lab::new();
    let host = lab.open();
    ensure(&host, lab.network());
    ensure(&host, lab.plan_over(1, OverlayMethod::Copy));
    let disk = lab.layout.vm(&vm_id(1)).root_clone;
    let take = |host: &SimHost| host.take_disk(&disk, || Ok(Change::Changed));
    assert_eq!(errno(take(&host)), Errno::BUSY);
    assert_eq!(host.remove(&lab.resource(1, Role::Vmm)).unwrap(), Change::Changed);
    let full = || Err(kernel_says("write", Errno::NOSPC));
    assert_eq!(errno(host.take_disk(&disk, full)), Errno::NOSPC);
    assert!(roles(&host).contains(&Role::RootClone));
    assert_eq!(take(&host).unwrap(), Change::Changed);
    assert_eq!(errno(take(&host)), Errno::NOENT);
    drop(host);
    assert!(!roles(&lab.open()).contains(&Role::RootClone));
}

#[test]
fn removing_the_directory_removes_the_files_in_it() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    lab.start(&host, 2);
    let dir = lab.layout.vm(&vm_id(1)).dir;
    assert!(dir.join("console.log").is_file());
    assert_eq!(host.remove(&lab.resource(1, Role::VmDir)).unwrap(), Change::Changed);
    assert!(!dir.exists());
    let inventory = host.inventory().unwrap();
    let left: Vec<_> = inventory
        .iter()
        .filter(|seen| seen.key.vm() == Some(&vm_id(1)))
        .map(|seen| seen.key.role())
        .collect();
    assert_eq!(left, [Role::RuntimeDir, Role::RootSnapshot, Role::Tap, Role::Vmm]);
}

#[test]
fn directories_are_real_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let host = lab.open();
    for role in [Role::VmDir, Role::RuntimeDir] {
        let resource = lab.resource(1, role);
        let path = PathBuf::from(resource.object());
        assert_eq!(host.ensure(&resource).unwrap(), Change::Changed);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(host.ensure(&resource).unwrap(), Change::Changed, "made again");
        assert_eq!(host.ensure(&resource).unwrap(), Change::Unchanged);
        assert_eq!(host.remove(&resource).unwrap(), Change::Changed);
        assert!(!path.exists());
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_not_there() {
    let lab = Lab::new();
    let host = lab.open();
    let path = lab.layout.vm(&vm_id(1)).dir;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "").unwrap();
    let outcome = host.ensure(&lab.resource(1, Role::VmDir));
    assert!(matches!(outcome, Err(HostError::Foreign { .. })), "{outcome:?}");
    assert_eq!(roles(&host), []);
}

#[test]
fn disks_grow_and_never_shrink() {
    let lab = Lab::new();
    let host = lab.open();
    ensure(&host, [lab.resource(1, Role::VmDir)]);
    let paths = lab.layout.vm(&vm_id(1));
    let work =
        |size| Resource::Ext4 { vm: vm_id(1), path: paths.work_disk.clone(), size: Bytes(size) };
    assert_eq!(host.ensure(&work(100)).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&work(200)).unwrap(), Change::Changed);
    assert!(matches!(host.ensure(&work(100)), Err(HostError::Shrink { .. })));
    assert_eq!(host.ensure(&work(200)).unwrap(), Change::Unchanged);
    assert_eq!(host.disk_size(&paths.work_disk), Some(Bytes(200)));
    // The image may be larger than the overlay that was asked for.
    let clone = |size| Resource::ClonedFile {
        vm: vm_id(1),
        path: paths.root_clone.clone(),
        source: "/image/rootfs.ext4".into(),
        size: Bytes(size),
        method: banger_core::resource::CloneMethod::Copy,
    };
    assert_eq!(host.ensure(&clone(100)).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&clone(50)).unwrap(), Change::Unchanged);
}

#[test]
fn disks_beyond_the_capacity_find_no_space() {
    let lab = Lab::new();
    // Room for one VM with the default disks of 8 GiB each and what a snapshot needs on top.
    let host = lab.open_with(|options| options.capacity = Bytes(17 << 30));
    lab.start(&host, 1);
    ensure(&host, [lab.resource(2, Role::VmDir)]);
    let error = host.ensure(&lab.resource(2, Role::RootCow)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoSpace);
    assert_eq!(host.remove(&lab.resource(1, Role::VmDir)).unwrap(), Change::Changed);
    ensure(&host, [lab.resource(2, Role::RootCow)]);
}

#[test]
fn names_of_another_instance_are_refused() {
    let (lab, other) = (Lab::new(), Lab::new());
    let host = lab.open();
    for resource in other.network().into_iter().chain(other.plan(1)) {
        let error = host.ensure(&resource).unwrap_err();
        assert!(matches!(error, HostError::Refused { .. }), "{resource:?}: {error}");
        assert!(host.remove(&resource).is_err(), "{resource:?}");
    }
    let astray =
        Resource::Tap { vm: vm_id(1), name: lab.layout.tap(&vm_id(2)), bridge: if_name("banger0") };
    assert!(matches!(host.ensure(&astray), Err(HostError::Refused { .. })));
}

#[test]
fn a_snapshot_over_another_base_is_made_anew_unless_it_is_in_use() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let Resource::DmSnapshot { vm, name, cow, tail, .. } = lab.resource(1, Role::RootSnapshot)
    else {
        panic!("a snapshot is one");
    };
    let other = Resource::DmSnapshot { vm, name, cow, tail, base: "/image/other.ext4".into() };
    assert_eq!(errno(host.ensure(&other)), Errno::BUSY);
    assert_eq!(host.remove(&lab.resource(1, Role::Vmm)).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&other).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&other).unwrap(), Change::Unchanged);
}

#[test]
fn a_snapshot_over_a_tail_that_grew_is_made_anew_unless_it_is_in_use() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let (device, path) = (lab.resource(1, Role::RootSnapshot), lab.layout.vm(&vm_id(1)).root_tail);
    let tail = |size| Resource::SparseFile {
        vm: vm_id(1),
        part: SnapshotPart::Tail,
        path: path.clone(),
        size: Bytes(size),
    };
    assert_eq!(host.ensure(&tail(5 << 30)).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&tail(1 << 30)).unwrap(), Change::Unchanged, "it never shrinks");
    assert_eq!(host.disk_size(&path), Some(Bytes(5 << 30)));
    assert_eq!(errno(host.ensure(&device)), Errno::BUSY);
    assert_eq!(host.remove(&lab.resource(1, Role::Vmm)).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&device).unwrap(), Change::Changed);
    assert_eq!(host.ensure(&device).unwrap(), Change::Unchanged);
    // One from before there were tails has none, and gets one.
    let Resource::DmSnapshot { vm, name, base, cow, .. } = device.clone() else {
        panic!("a snapshot is one");
    };
    let short = Resource::DmSnapshot { vm, name, base, cow, tail: None };
    for other in [&short, &device] {
        assert_eq!(host.ensure(other).unwrap(), Change::Changed);
        assert_eq!(host.ensure(other).unwrap(), Change::Unchanged);
    }
}

#[test]
fn a_segment_without_a_sector_is_refused() {
    let lab = Lab::new();
    let host = lab.open();
    ensure(&host, [lab.resource(1, Role::VmDir), lab.resource(1, Role::RootCow)]);
    let (part, path) = (SnapshotPart::Tail, lab.layout.vm(&vm_id(1)).root_tail);
    ensure(&host, [Resource::SparseFile { vm: vm_id(1), part, path, size: Bytes(511) }]);
    assert_eq!(errno(host.ensure(&lab.resource(1, Role::RootSnapshot))), Errno::INVAL);
}

#[test]
fn artifacts_are_looked_for_only_when_asked() {
    let lab = Lab::new();
    let host = lab.open_with(|options| options.artifacts = Artifacts::Checked);
    ensure(&host, lab.network());
    for resource in lab.plan(1) {
        let reads = matches!(resource.role(), Role::RootSnapshot | Role::Initrd | Role::Vmm);
        if reads {
            assert_eq!(errno(host.ensure(&resource)), Errno::NOENT, "{resource:?}");
        } else {
            ensure(&host, [resource]);
        }
    }
}

#[test]
fn an_initrd_is_written_anew_each_time() {
    let lab = Lab::new();
    let host = lab.open();
    ensure(&host, [lab.resource(1, Role::VmDir)]);
    for _ in 0..2 {
        assert_eq!(host.ensure(&lab.resource(1, Role::Initrd)).unwrap(), Change::Changed);
    }
    assert_eq!(roles(&host), [Role::VmDir, Role::Initrd]);
}

#[test]
fn the_table_lists_its_guests() {
    let lab = Lab::new();
    let host = lab.open();
    assert_eq!(host.nat_guests(), []);
    ensure(&host, lab.network());
    assert_eq!(host.nat_guests(), [GuestIp::from(Ipv4Addr::new(172, 16, 0, 2))]);
}
