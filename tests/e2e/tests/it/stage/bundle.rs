//! Bundles with something wrong in them, made of the good one's files.

use super::program::tool;
use super::site::good_bundle;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A bundle that differs from the good one. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Variant {
    dir: TempDir,
}

impl Variant {
    /// The good one's files under the names of a bundle without a manifest.
    pub(crate) fn legacy() -> Self {
        let variant = Self { dir: tempfile::tempdir().unwrap() };
        let (dir, manifest) = (good_bundle(), manifest());
        for (key, name) in [("kernel", "vmlinux"), ("initrd", "initrd"), ("rootfs", "rootfs.ext4")]
        {
            let target = dir.join(manifest[key].as_str().unwrap());
            symlink(target, variant.file(name)).unwrap();
        }
        variant
    }

    /// With a manifest whose kernel command line has these words more.
    pub(crate) fn with_boot_args(words: &[&str]) -> Self {
        let variant = Self::legacy();
        let mut all = manifest()["boot_args"].as_array().cloned().unwrap_or_default();
        all.extend(words.iter().map(|word| json!(word)));
        let manifest = json!({
            "version": 1, "name": "variant", "kernel": "vmlinux", "initrd": "initrd",
            "rootfs": "rootfs.ext4", "boot_args": all,
        });
        fs::write(variant.file("bundle.json"), manifest.to_string()).unwrap();
        variant
    }

    /// With another file in place of one of the good ones; the caller fills it.
    pub(crate) fn replacing(self, name: &str, fill: impl FnOnce(&Path, File)) -> Self {
        let path = self.file(name);
        fs::remove_file(&path).unwrap();
        let file = File::create(&path).unwrap();
        fill(&path, file);
        self
    }

    /// Without one of the files.
    pub(crate) fn without(self, name: &str) -> Self {
        fs::remove_file(self.file(name)).unwrap();
        self
    }

    /// The setting that makes a daemon use it.
    pub(crate) fn setting(&self) -> String {
        format!("bundle_dir = '{}'", self.dir.path().display())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Takes a kernel module out of the bundle's root file system.
pub(crate) fn kernel_module(name: &str, target: &Path) {
    let rootfs = good_bundle().join(manifest()["rootfs"].as_str().unwrap());
    let debugfs = |request: &str| tool("debugfs", &["-R", request, rootfs.to_str().unwrap()]);
    let releases = debugfs("ls -p /lib/modules");
    let release = releases.split('/').find(|word| word.contains("amd64")).unwrap();
    let module = format!("/lib/modules/{release}/kernel/drivers/net/{name}");
    debugfs(&format!("dump {module} {}", target.display()));
    assert!(fs::metadata(target).unwrap().len() > 0, "there is no {module}");
}

/// Copies the bundle's kernel, changed in what `/proc/version` says: `otter--kernel` instead of
/// `debian-kernel`; and the archive of its modules.
pub(crate) fn marked_kernel(kernel: &Path, initrd: &Path) {
    let (from, to) = (b"debian-kernel@", b"otter--kernel@");
    let (dir, manifest) = (good_bundle(), manifest());
    let file = |key: &str| dir.join(manifest[key].as_str().unwrap());
    let mut bytes = fs::read(file("kernel")).unwrap();
    let last = bytes.len() - from.len();
    let places: Vec<usize> = (0..last).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "it is another distribution's kernel");
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    fs::write(kernel, bytes).unwrap();
    fs::copy(file("initrd"), initrd).unwrap();
}

fn manifest() -> Value {
    let text = fs::read_to_string(good_bundle().join("bundle.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}
