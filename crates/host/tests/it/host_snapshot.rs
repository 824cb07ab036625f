//! Device-mapper snapshots. Where the kernel has no device-mapper, the tests check that it is named
//! as what is missing; the testbed's has it.

use crate::scene::Scene;
use banger_core::error::{ErrorCode, Explain};
use banger_core::id::VmId;
use banger_core::names::VmPaths;
use banger_core::resource::{Resource, SnapshotPart};
use banger_core::unit::Bytes;
use banger_host::cmd::Cmd;
use banger_host::{Change, Host, facts};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Three sectors into its last chunk of eight, and some bytes that make no sector.
const IMAGE: u64 = 16 * MIB + 3 * 512 + 100;
/// Where the image's last whole sector ends.
const BORDER: u64 = IMAGE - 100;

/// A VM's root disk over a dm-snapshot.
struct Root {
    vm: VmId,
    paths: VmPaths,
    base: PathBuf,
    scene: Scene,
}

impl Root {
    /// The image is all sevens.
    fn new() -> Self {
        let scene = Scene::new();
        let (vm, paths) = scene.vm(1);
        scene.ensure_dirs(&vm);
        let base = scene.dir().join("rootfs");
        fs::write(&base, vec![7; usize::try_from(IMAGE).unwrap()]).unwrap();
        let root = Self { vm, paths, base, scene };
        root.scene.ensure(&root.file(SnapshotPart::Cow, 32 * MIB));
        root
    }

    fn file(&self, part: SnapshotPart, size: u64) -> Resource {
        let path = match part {
            SnapshotPart::Cow => self.paths.root_cow.clone(),
            SnapshotPart::Tail => self.paths.root_tail.clone(),
        };
        Resource::SparseFile { vm: self.vm.clone(), part, path, size: Bytes(size) }
    }

    /// With the tail, if there is one by now.
    fn device(&self) -> Resource {
        let tail = &self.paths.root_tail;
        Resource::DmSnapshot {
            vm: self.vm.clone(),
            name: self.scene.layout.root_snapshot(&self.vm),
            base: self.base.clone(),
            cow: self.paths.root_cow.clone(),
            tail: tail.exists().then(|| tail.clone()),
        }
    }

    fn node(&self) -> PathBuf {
        self.scene.layout.root_snapshot(&self.vm).device()
    }

    /// Checks the refusal, where device-mapper is missing.
    fn is_refused(&self) -> bool {
        if facts::device_mapper().is_ok() {
            return false;
        }
        let error = self.scene.host.ensure(&self.device()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MissingDependency);
        assert!(error.to_string().starts_with("device-mapper cannot be used: "), "{error}");
        assert_eq!(error.hints().len(), 1);
        true
    }

    fn size(&self) -> u64 {
        File::open(self.node()).unwrap().seek(SeekFrom::End(0)).unwrap()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(self.node()).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        file.sync_all().unwrap();
    }

    fn finish(self) {
        self.scene.clear().unwrap();
        self.scene.finish();
    }
}

fn read<const N: usize>(path: &Path, offset: u64) -> [u8; N] {
    let mut bytes = [0; N];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

#[test]
fn a_snapshot_comes_and_goes_and_keeps_what_was_written() {
    let root = Root::new();
    if !root.is_refused() {
        let device = root.device();
        root.scene.ensure(&device);
        assert!(root.scene.keys().contains(&format!("vm/{}/root_snapshot", root.vm)));
        assert_eq!(root.size(), BORDER);
        root.write(0, &[9; 4096]);
        root.scene.remove(&device);
        // What was written is kept in the store, and the image never changes.
        root.scene.ensure(&device);
        assert_eq!((read(&root.node(), 0), read(&root.base, 0)), ([9], [7]));
        root.scene.remove(&device);
    }
    root.finish();
}

#[test]
fn a_disk_larger_than_its_image_goes_on_in_its_tail_and_grows_with_it() {
    let root = Root::new();
    root.scene.ensure(&root.file(SnapshotPart::Tail, 8 * MIB));
    if !root.is_refused() {
        let device = root.device();
        root.scene.ensure(&device);
        assert_eq!(root.size(), BORDER + 8 * MIB);
        assert_eq!(read(&root.node(), BORDER - 2), [7, 7, 0, 0], "the image, then nothing");
        // Across the border, which is within a chunk, and at both ends.
        root.write(BORDER - 4096, &[9; 8192]);
        root.write(0, &[8; 512]);
        root.write(BORDER + 8 * MIB - 512, &[6; 512]);
        let holds = |context: &str| {
            let (node, end) = (root.node(), BORDER + 8 * MIB);
            assert_eq!(read(&node, BORDER - 4096), [9; 8192], "{context}");
            assert_eq!((read(&node, BORDER - 4097), read(&node, BORDER + 4096)), ([7], [0]));
            assert_eq!((read(&node, 511), read(&node, end - 512)), ([8, 7], [6; 512]));
        };
        holds("as written");
        root.scene.remove(&device);
        root.scene.ensure(&device);
        holds("made again");
        assert_eq!(read(&root.paths.root_tail, 0), [9; 4096]);
        assert_eq!(read(&root.base, BORDER - 4), [7; 104], "the image never changes");

        // Grown under a device that is there, and under none.
        root.scene.ensure(&root.file(SnapshotPart::Tail, 12 * MIB));
        root.scene.ensure(&device);
        assert_eq!(root.size(), BORDER + 12 * MIB);
        holds("grown");
        root.scene.remove(&device);
        root.scene.ensure(&root.file(SnapshotPart::Tail, 40 * MIB));
        root.scene.ensure(&device);
        assert_eq!(root.size(), BORDER + 40 * MIB);
        holds("grown again");
        root.scene.remove(&device);
    }
    root.finish();
}

#[test]
fn a_disk_from_before_there_were_tails_gets_one() {
    let root = Root::new();
    if !root.is_refused() {
        root.scene.ensure(&root.device());
        root.write(BORDER - 512, &[9; 512]);
        root.scene.ensure(&root.file(SnapshotPart::Tail, MIB));
        root.scene.ensure(&root.device());
        assert_eq!(root.size(), BORDER + MIB);
        assert_eq!(read(&root.node(), BORDER - 513), [7, 9]);
        assert_eq!(read(&root.node(), BORDER - 1), [9, 0]);
        // A daemon that finds it knows its files by their names alone.
        let seen = root.scene.host.inventory().unwrap();
        let seen = seen.iter().find(|seen| seen.key == root.device().key()).unwrap();
        let leftover = seen.leftover(&root.scene.layout).unwrap();
        root.scene.remove(&leftover);
    }
    root.finish();
}

#[test]
fn a_device_that_is_in_use_is_not_made_anew() {
    let root = Root::new();
    root.scene.ensure(&root.file(SnapshotPart::Tail, MIB));
    if !root.is_refused() {
        let device = root.device();
        root.scene.ensure(&device);
        let user = File::open(root.node()).unwrap();
        root.scene.ensure(&root.file(SnapshotPart::Tail, 2 * MIB));
        assert!(root.scene.host.ensure(&device).is_err());
        assert_eq!(root.size(), BORDER + MIB);
        drop(user);
        assert_eq!(root.scene.host.ensure(&device).unwrap(), Change::Changed);
        assert_eq!(root.size(), BORDER + 2 * MIB);
    }
    root.finish();
}

/// What is left of a device whose making was cut short: it is seen, and removed, as the device.
#[test]
fn loop_devices_over_store_or_tail_are_seen_and_removed_as_the_device() {
    let root = Root::new();
    root.scene.ensure(&root.file(SnapshotPart::Tail, MIB));
    let key = format!("vm/{}/root_snapshot", root.vm);
    for file in [&root.paths.root_cow, &root.paths.root_tail] {
        assert!(!root.scene.keys().contains(&key));
        Cmd::new("losetup").arg("--find").arg(file).run().unwrap();
        assert!(root.scene.keys().contains(&key), "{}", file.display());
        assert_eq!(root.scene.host.remove(&root.device()).unwrap(), Change::Changed);
        // Whoever looked at the new device, as udev does, keeps it until they have closed it.
        let deadline = Instant::now() + Duration::from_secs(30);
        while root.scene.keys().contains(&key) {
            assert!(Instant::now() < deadline, "{}", file.display());
            std::thread::yield_now();
        }
    }
    root.finish();
}
