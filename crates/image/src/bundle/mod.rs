//! The runtime bundle: a directory with everything that a VM boots from.
//!
//! `bundle.json` ([`Manifest`]) names the files; without it, a directory that has the legacy file
//! names is a bundle too, and keys of the configuration can name others ([`BundleSource`]).
//! [`build`](build()) makes one from Debian packages, [`fetch`](fetch()) unpacks one from an archive,
//! and [`verify`](verify()) reads all of it.

mod build;
mod debian;
mod error;
mod fetch;
mod manifest;
mod parts;
mod pin;
mod rootfs;
mod verify;
mod workshop;

pub use crate::checksum::{Checksum, ChecksumError};
pub use build::{BuildRequest, BuildStep, REQUIRED_PROGRAMS, build};
pub use error::{BuildError, BundleError, Mend};
pub use fetch::{
    FetchError, FetchProgress, FetchRequest, FetchStep, Fetched, Place, PlaceError, fetch,
};
pub use manifest::{
    ArchiveOrigin, BundlePath, BundlePathError, FileRecord, MANIFEST_VERSION, Manifest,
    PackageVersion, Provenance,
};
pub use parts::{BundleSource, NamedBy, Override, Part, Role};
pub use pin::{PIN_FILE, Pin, PinError};
pub use verify::{Verified, VerifyError, verify};

use crate::artifact;
use banger_core::image::Image;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "bundle.json";
/// The file names of a bundle without a manifest: kernel, initrd, root file system.
pub const LEGACY_FILES: [&str; 3] = ["vmlinux", "initrd", "rootfs.ext4"];

/// A bundle as it is described, whether or not its files are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    dir: PathBuf,
    manifest: Manifest,
    parts: Vec<Part>,
}

impl Bundle {
    /// Opens the bundle in a directory and checks its files.
    ///
    /// # Errors
    ///
    /// When the directory or its manifest is missing or broken, or when a file that it names is
    /// missing, cut short or of another kind. Each has its own message.
    pub fn open(source: &BundleSource) -> Result<Self, BundleError> {
        let bundle = Self::read(source)?;
        match bundle.problems().into_iter().next() {
            None => Ok(bundle),
            Some(problem) => Err(problem),
        }
    }

    /// Reads the description of a bundle, and looks at no file of it.
    ///
    /// # Errors
    ///
    /// When the directory or its manifest is missing or broken, and some part has to come from there.
    pub fn read(source: &BundleSource) -> Result<Self, BundleError> {
        match described(source) {
            Ok((dir, manifest, named_by)) => {
                let parts = parts::parts(&dir, Some((&manifest, &named_by)), source);
                Ok(Self { dir, manifest, parts })
            }
            Err(_unneeded) if source.is_overridden() => Ok(Self {
                dir: source.dir.clone(),
                manifest: Manifest::legacy(),
                parts: parts::parts(&source.dir, None, source),
            }),
            Err(error) => Err(error),
        }
    }

    /// What the manifest says; of a bundle without one, what its files' names say.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bundle's directory, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kernel, initrd, root file system and, if there is one, module tree.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The image that it holds.
    pub fn image(&self) -> Image {
        let path = |role| self.path(role).expect("a bundle has a part for each of these roles");
        Image {
            name: self.manifest.name.clone(),
            kernel: path(Role::Kernel),
            initrd: Some(path(Role::Initrd)),
            rootfs: path(Role::Rootfs),
            boot_args: self.manifest.boot_args.clone(),
        }
    }

    /// The kernel's module tree, if the bundle has it.
    pub fn modules(&self) -> Option<PathBuf> {
        self.path(Role::Modules)
    }

    fn path(&self, role: Role) -> Option<PathBuf> {
        self.parts.iter().find(|part| part.role == role).map(|part| part.path.clone())
    }

    /// How to have all files of the bundle again.
    fn mend(&self) -> Mend {
        Mend::of(&self.manifest)
    }

    /// Everything that a look at the files' beginnings shows to be wrong.
    pub fn problems(&self) -> Vec<BundleError> {
        let mut problems: Vec<BundleError> = self.half_unpacked().into_iter().collect();
        for part in &self.parts {
            problems.extend(self.problem_of(part));
        }
        problems.extend(self.manifest.records().filter_map(|(name, record)| {
            let path = name.under(&self.dir);
            let found = fs::metadata(&path).ok()?.len();
            let mend = self.mend();
            (found > record.bytes).then_some(BundleError::WrongSize {
                path,
                wanted: record.bytes,
                found,
                mend,
            })
        }));
        problems
    }

    /// The files that are known to belong here and are missing or cut short, as one error.
    fn half_unpacked(&self) -> Option<BundleError> {
        let recorded = self.manifest.records().map(|(name, record)| {
            let path = name.under(&self.dir);
            let fault = match fs::metadata(&path) {
                Err(_) if is_dangling(&path) => None,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Some("is missing".to_owned())
                }
                Ok(meta) if meta.len() < record.bytes => {
                    Some(format!("has {} of {} bytes", meta.len(), record.bytes))
                }
                _ => None,
            };
            (name.to_string(), fault)
        });
        let legacy = self.parts.iter().filter(|part| part.named_by == NamedBy::LegacyName);
        let legacy = legacy.map(|part| {
            let name = part.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_missing = !part.path.exists() && !is_dangling(&part.path);
            (name, is_missing.then(|| "is missing".to_owned()))
        });
        let faults: Vec<String> = recorded
            .chain(legacy)
            .filter_map(|(name, fault)| fault.map(|fault| format!("`{name}` {fault}")))
            .collect();
        let (dir, mend) = (self.dir.clone(), self.mend());
        (!faults.is_empty()).then_some(BundleError::HalfUnpacked { dir, faults, mend })
    }

    /// What is wrong with a part, unless it is missing from a bundle that is half unpacked.
    fn problem_of(&self, part: &Part) -> Option<BundleError> {
        let is_expected = part.record.is_some() || part.named_by == NamedBy::LegacyName;
        if !part.path.exists() {
            let is_told = is_expected && !is_dangling(&part.path);
            return (!is_told).then(|| BundleError::Dangling {
                role: part.role,
                path: part.path.clone(),
                named_by: part.named_by.clone(),
                mend: self.mend(),
            });
        }
        let checked = match part.role {
            Role::Kernel => artifact::check_kernel(&part.path),
            Role::Initrd => artifact::check_initrd(&part.path),
            Role::Rootfs => artifact::check_rootfs(&part.path),
            Role::Modules if part.path.is_dir() => Ok(()),
            Role::Modules => return Some(BundleError::NoModules { path: part.path.clone() }),
        };
        checked.err().map(|source| self.unusable(part, source))
    }

    fn unusable(&self, part: &Part, source: artifact::ArtifactError) -> BundleError {
        match &part.named_by {
            NamedBy::Setting { key, origin } => {
                BundleError::Setting { key, origin: origin.clone(), source }
            }
            NamedBy::Manifest | NamedBy::LegacyName => {
                BundleError::Artifact { dir: self.dir.clone(), source, mend: self.mend() }
            }
        }
    }
}

/// Whether a link is there that leads nowhere.
fn is_dangling(path: &Path) -> bool {
    path.is_symlink() && !path.exists()
}

/// The directory as an absolute path, and what is in it by whose word.
fn described(source: &BundleSource) -> Result<(PathBuf, Manifest, NamedBy), BundleError> {
    let BundleSource { dir, named_by, .. } = source;
    let dir = dir.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            BundleError::NoDirectory { dir: dir.clone(), named_by: named_by.clone() }
        }
        _ => BundleError::Read { path: dir.clone(), source },
    })?;
    let path = dir.join(MANIFEST_FILE);
    match fs::read(&path) {
        Ok(text) => {
            let manifest = Manifest::parse(&text).map_err(|error| error.at(&path))?;
            Ok((dir, manifest, NamedBy::Manifest))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_legacy = LEGACY_FILES.iter().any(|file| dir.join(file).exists());
            if !is_legacy {
                return Err(BundleError::NoManifest { dir });
            }
            Ok((dir, Manifest::legacy(), NamedBy::LegacyName))
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
        let error = Bundle::open(&BundleSource::at(dir)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BundleUnusable);
        assert!(error.hints().iter().any(|hint| hint.contains("`banger bundle build`")), "{error}");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    }

    #[test]
    fn the_legacy_layout_is_a_bundle() {
        let dir = legacy();
        let image = Bundle::open(&BundleSource::at(dir.path())).unwrap().image();
        assert_eq!(image.name.as_str(), "default");
        assert!(image.rootfs.is_absolute() && image.rootfs.ends_with("rootfs.ext4"));
    }

    #[test]
    fn the_manifest_names_the_image_and_its_files() {
        let dir = with_manifest(MANIFEST);
        let image = Bundle::open(&BundleSource::at(dir.path())).unwrap().image();
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
        assert!(
            message.contains("half unpacked: `rootfs.ext4` has 4096 of 5000 bytes"),
            "{message}"
        );
    }
}
