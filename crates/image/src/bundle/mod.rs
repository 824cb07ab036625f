//! The runtime bundle: a directory with everything that a VM boots from.
//!
//! `bundle.json` ([`Manifest`]) names the files; without it, a directory that has the legacy file
//! names is a bundle too. [`build`](build()) makes one from Debian packages.

mod build;
mod debian;
mod error;
mod manifest;
mod rootfs;
mod workshop;

pub use build::{BuildRequest, BuildStep, REQUIRED_PROGRAMS, build};
pub use error::{BuildError, BundleError};
pub use manifest::{
    BundlePath, BundlePathError, FileRecord, MANIFEST_VERSION, Manifest, PackageVersion, Provenance,
};

use crate::artifact;
use banger_core::image::Image;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "bundle.json";
/// The file names of a bundle without a manifest: kernel, initrd, root file system.
pub const LEGACY_FILES: [&str; 3] = ["vmlinux", "initrd", "rootfs.ext4"];

/// A bundle whose files were there and of the right kind when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    dir: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Opens the bundle in a directory and checks its files.
    ///
    /// # Errors
    ///
    /// When the directory or its manifest is missing or broken, or when a file that it names is
    /// missing, cut short or of another kind. Each has its own message.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        let dir = dir.canonicalize().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BundleError::NoDirectory { dir: dir.to_owned() },
            _ => BundleError::Read { path: dir.to_owned(), source },
        })?;
        let manifest = read_manifest(&dir)?;
        let bundle = Self { dir, manifest };
        bundle.check()?;
        Ok(bundle)
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bundle's directory, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image that it holds.
    pub fn image(&self) -> Image {
        let manifest = &self.manifest;
        Image {
            name: manifest.name.clone(),
            kernel: manifest.kernel.under(&self.dir),
            initrd: Some(manifest.initrd.under(&self.dir)),
            rootfs: manifest.rootfs.under(&self.dir),
            boot_args: manifest.boot_args.clone(),
        }
    }

    /// The kernel's module tree, if the bundle has it.
    pub fn modules(&self) -> Option<PathBuf> {
        self.manifest.modules.as_ref().map(|modules| modules.under(&self.dir))
    }

    fn check(&self) -> Result<(), BundleError> {
        let artifact = |source| BundleError::Artifact { dir: self.dir.clone(), source };
        artifact::check_image(&self.image()).map_err(artifact)?;
        if let Some(modules) = self.modules()
            && !modules.is_dir()
        {
            return Err(BundleError::NoModules { path: modules });
        }
        let files = self.manifest.provenance.iter().flat_map(|provenance| &provenance.files);
        for (name, record) in files {
            let path = name.under(&self.dir);
            let found = fs::metadata(&path)
                .map_err(|source| BundleError::Read { path: path.clone(), source })?
                .len();
            if found != record.bytes {
                return Err(BundleError::WrongSize { path, wanted: record.bytes, found });
            }
        }
        Ok(())
    }
}

fn read_manifest(dir: &Path) -> Result<Manifest, BundleError> {
    let path = dir.join(MANIFEST_FILE);
    match fs::read(&path) {
        Ok(text) => Manifest::parse(&text).map_err(|error| error.at(&path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_legacy = LEGACY_FILES.iter().any(|file| dir.join(file).exists());
            if !is_legacy {
                return Err(BundleError::NoManifest { dir: dir.to_owned() });
            }
            Ok(Manifest::legacy())
        }
        Err(source) => Err(BundleError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::elf;
    use banger_core::error::{ErrorCode, Explain};

    /// A bundle of tiny files in the legacy layout.
    fn legacy() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut ext4 = vec![0; 4096];
        ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        for (name, content) in LEGACY_FILES.into_iter().zip([elf(), b"070701".to_vec(), ext4]) {
            fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn with_manifest(text: &str) -> tempfile::TempDir {
        let dir = legacy();
        fs::write(dir.path().join(MANIFEST_FILE), text).unwrap();
        dir
    }

    const MANIFEST: &str = r#"{
        "version": 1, "name": "debian-12", "kernel": "vmlinux", "initrd": "initrd",
        "rootfs": "rootfs.ext4", "boot_args": ["net.ifnames=0"]
    }"#;

    fn error(dir: &Path) -> String {
        let error = Bundle::open(dir).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BundleUnusable);
        assert!(error.hints().iter().any(|hint| hint.contains("`banger bundle build`")), "{error}");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    }

    #[test]
    fn the_legacy_layout_is_a_bundle() {
        let dir = legacy();
        let image = Bundle::open(dir.path()).unwrap().image();
        assert_eq!(image.name.as_str(), "default");
        assert!(image.rootfs.is_absolute() && image.rootfs.ends_with("rootfs.ext4"));
    }

    #[test]
    fn the_manifest_names_the_image_and_its_files() {
        let dir = with_manifest(MANIFEST);
        let image = Bundle::open(dir.path()).unwrap().image();
        assert_eq!(image.name.as_str(), "debian-12");
        assert_eq!(image.boot_args, ["net.ifnames=0"]);
    }

    #[test]
    fn a_missing_directory_and_an_empty_one_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(error(&dir.path().join("gone")).contains("does not exist"));
        assert!(error(dir.path()).contains("has no `bundle.json`"));
    }

    #[test]
    fn a_broken_manifest_is_named_with_its_place() {
        let typo = MANIFEST.replace("\"kernel\"", "\"kernle\"");
        assert!(error(with_manifest(&typo).path()).contains("unknown field `kernle`"));
        assert!(error(with_manifest("{").path()).contains("bundle.json"));
        let later = MANIFEST.replace("\"version\": 1", "\"version\": 9, \"colour\": \"blue\"");
        assert!(error(with_manifest(&later).path()).contains("version 9"));
    }

    #[test]
    fn a_path_that_leads_out_of_the_bundle_is_refused() {
        for path in ["../vmlinux", "/boot/vmlinux", "", "a/../../b"] {
            let text = MANIFEST.replace("\"vmlinux\"", &format!("\"{path}\""));
            assert!(error(with_manifest(&text).path()).contains("inside of the bundle"), "{path}");
        }
    }

    #[test]
    fn a_dangling_path_is_named() {
        let text = MANIFEST.replace("\"vmlinux\"", "\"vmlinux-2\"");
        let message = error(with_manifest(&text).path());
        assert!(message.contains("vmlinux-2") && message.contains("does not exist"), "{message}");
    }

    #[test]
    fn files_of_another_kind_are_refused() {
        let dir = with_manifest(MANIFEST);
        fs::write(dir.path().join("vmlinux"), "#!/bin/sh").unwrap();
        assert!(error(dir.path()).contains("no kernel that can be booted"));
        let dir = with_manifest(MANIFEST);
        fs::write(dir.path().join("rootfs.ext4"), vec![0; 8192]).unwrap();
        assert!(error(dir.path()).contains("no ext4 file system"));
    }

    #[test]
    fn a_file_that_was_cut_short_is_found() {
        let provenance = r#""provenance": {"built": "2026-01-01T00:00:00Z", "suite": "bookworm",
            "packages": [], "files": {"rootfs.ext4": {"bytes": 5000}}}, "version""#;
        let text = MANIFEST.replacen("\"version\"", provenance, 1);
        let message = error(with_manifest(&text).path());
        assert!(message.contains("has 4096 bytes") && message.contains("5000"), "{message}");
    }
}
