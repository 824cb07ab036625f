//! Directories and disks.

use crate::scene::Scene;
use banger_core::error::{ErrorCode, Explain};
use banger_core::resource::{CloneMethod, Payload, Resource, SnapshotPart};
use banger_core::unit::Bytes;
use banger_host::{Change, Host, facts};
use rustix::mount::{MountFlags, mount};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// 16 MiB, of which `data` MiB at the start are data.
fn image(dir: &Path, data: usize) -> PathBuf {
    let path = dir.join("rootfs");
    let file = File::create(&path).unwrap();
    file.write_all_at(&vec![7; data << 20], 0).unwrap();
    file.set_len(16 * MIB).unwrap();
    path
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_vms_files_come_are_seen_and_go() {
    let scene = Scene::new();
    let (vm, paths) = scene.vm(1);
    scene.ensure_dirs(&vm);
    let id = || vm.clone();
    let clone = Resource::ClonedFile {
        vm: id(),
        path: paths.root_clone.clone(),
        source: image(scene.dir(), 1),
        size: Bytes(32 * MIB),
        method: CloneMethod::Copy,
    };
    let sparse = |part, path| Resource::SparseFile { vm: id(), part, path, size: Bytes(MIB) };
    let cow = sparse(SnapshotPart::Cow, paths.root_cow.clone());
    let tail = sparse(SnapshotPart::Tail, paths.root_tail.clone());
    let work = Resource::Ext4 { vm: id(), path: paths.work_disk.clone(), size: Bytes(64 * MIB) };
    let initrd = Resource::BootInitrd {
        vm: id(),
        path: paths.initrd.clone(),
        parts: Vec::new(),
        tail: Payload(b"config".to_vec()),
    };
    for resource in [&clone, &cow, &tail, &work] {
        scene.ensure(resource);
    }
    assert_eq!(scene.host.ensure(&initrd).unwrap(), Change::Changed);
    let expected =
        ["vm_dir", "runtime_dir", "root_clone", "root_cow", "root_tail", "work_disk", "initrd"];
    assert_eq!(scene.keys(), expected.map(|role| format!("vm/{vm}/{role}")));
    assert_eq!([&paths.dir, &paths.runtime].map(|path| mode(path)), [0o700; 2]);
    let disks = [&paths.root_clone, &paths.root_cow, &paths.root_tail, &paths.work_disk];
    assert_eq!(disks.map(|path| mode(path)), [0o600; 4]);
    for resource in [&clone, &cow, &tail, &work, &initrd] {
        scene.remove(resource);
    }
    scene.remove(&Resource::VmDir { vm: id(), path: paths.dir });
    scene.remove(&Resource::RuntimeDir { vm: id(), path: paths.runtime });
    scene.finish();
}

#[test]
fn a_half_written_disk_is_seen_and_removed_under_the_disks_name() {
    let scene = Scene::new();
    let (vm, paths) = scene.vm(1);
    scene.ensure_dirs(&vm);
    fs::write(paths.work_disk.with_extension("img.part"), b"half").unwrap();
    assert!(scene.keys().contains(&format!("vm/{vm}/work_disk")));
    scene.remove(&Resource::Ext4 { vm, path: paths.work_disk, size: Bytes(0) });
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_directory_that_others_can_enter_is_closed() {
    let scene = Scene::new();
    let (vm, paths) = scene.vm(1);
    fs::create_dir_all(&paths.dir).unwrap();
    fs::set_permissions(&paths.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let dir = Resource::VmDir { vm, path: paths.dir.clone() };
    scene.ensure(&dir);
    assert_eq!(mode(&paths.dir), 0o700);
    scene.remove(&dir);
    scene.finish();
}

#[test]
fn a_full_disk_is_said_and_no_half_file_stays() {
    let scene = Scene::new();
    let source = image(scene.dir(), 8);
    let state = scene.layout.state_dir();
    fs::create_dir_all(state).unwrap();
    mount("tmpfs", state, "tmpfs", MountFlags::empty(), c"size=4m").unwrap();
    let (vm, paths) = scene.vm(1);
    scene.ensure_dirs(&vm);
    let clone = Resource::ClonedFile {
        vm: vm.clone(),
        path: paths.root_clone,
        source,
        size: Bytes(MIB),
        method: CloneMethod::Copy,
    };
    let initrd = Resource::BootInitrd {
        vm,
        path: paths.initrd,
        parts: Vec::new(),
        tail: Payload(vec![1; 8 << 20]),
    };
    for resource in [clone, initrd] {
        let error = scene.host.ensure(&resource).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NoSpace, "{error:?}");
        assert_eq!(error.hints().len(), 1);
        assert_eq!(fs::read_dir(&paths.dir).unwrap().count(), 0);
    }
    scene.clear().unwrap();
    rustix::mount::unmount(state, rustix::mount::UnmountFlags::DETACH).unwrap();
    scene.finish();
}

#[test]
fn a_file_system_that_cannot_share_blocks_says_so_and_keeps_nothing() {
    let scene = Scene::new();
    let state = scene.layout.state_dir();
    fs::create_dir_all(state).unwrap();
    mount("tmpfs", state, "tmpfs", MountFlags::empty(), c"size=64m").unwrap();
    assert!(!facts::reflink_supported(state));
    let (vm, paths) = scene.vm(1);
    scene.ensure_dirs(&vm);
    let clone = Resource::ClonedFile {
        vm,
        path: paths.root_clone,
        source: image(state, 1),
        size: Bytes(MIB),
        method: CloneMethod::Reflink,
    };
    let error = scene.host.ensure(&clone).unwrap_err();
    assert!(error.to_string().starts_with("could not clone the image to"), "{error}");
    assert_eq!(fs::read_dir(&paths.dir).unwrap().count(), 0);
    scene.clear().unwrap();
    rustix::mount::unmount(state, rustix::mount::UnmountFlags::DETACH).unwrap();
    scene.finish();
}
