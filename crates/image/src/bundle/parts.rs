//! The parts of a bundle: which file each one is, and who says so.

use super::manifest::{BundlePath, FileRecord, Manifest};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The kernel.
    Kernel,
    /// The archive of the kernel's modules.
    Initrd,
    /// The root file system.
    Rootfs,
    /// The kernel's whole module tree.
    Modules,
}

impl Role {
    /// The role in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Rootfs => "root file system",
            Self::Modules => "module tree",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a bundle is, and which of its parts are to be taken from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleSource {
    /// The bundle's directory.
    pub dir: PathBuf,
    /// Who says so, where it is not where it usually is.
    pub named_by: Option<NamedBy>,
    /// The parts that are elsewhere; at most one for each role.
    pub overrides: Vec<Override>,
}

impl BundleSource {
    /// A bundle with all its parts in one directory.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), named_by: None, overrides: Vec::new() }
    }

    /// Where the root file system is, or the directory that has it.
    pub fn root(&self) -> &Path {
        self.of(Role::Rootfs).map_or(&self.dir, |given| &given.path)
    }

    /// Whether the bundle itself is not needed for anything.
    pub(super) fn is_overridden(&self) -> bool {
        [Role::Kernel, Role::Initrd, Role::Rootfs].into_iter().all(|role| self.of(role).is_some())
    }

    fn of(&self, role: Role) -> Option<&Override> {
        self.overrides.iter().find(|given| given.role == role)
    }
}

/// A part that is taken from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Which part.
    pub role: Role,
    /// Where it is.
    pub path: PathBuf,
    /// The key that says so: `default_kernel`.
    pub key: &'static str,
    /// Where the key has its value from: `line 3 of …`.
    pub origin: String,
}

/// Who says which file a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// `bundle.json`.
    Manifest,
    /// The file names of a bundle without `bundle.json`.
    LegacyName,
    /// A key of the configuration.
    Setting {
        /// The key.
        key: &'static str,
        /// Where it has its value from.
        origin: String,
    },
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("`bundle.json`"),
            Self::LegacyName => f.write_str("the legacy file names"),
            Self::Setting { key, origin } => write!(f, "`{key}` in {origin}"),
        }
    }
}

/// A part of a bundle, as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is for.
    pub role: Role,
    /// Where it is.
    pub path: PathBuf,
    /// Who says so.
    pub named_by: NamedBy,
    /// What is known of the file.
    pub record: Option<FileRecord>,
}

/// The parts of a bundle: those of its manifest, less those that are to be taken from elsewhere.
pub(super) fn parts(
    dir: &Path,
    manifest: Option<(&Manifest, &NamedBy)>,
    source: &BundleSource,
) -> Vec<Part> {
    let in_manifest = |role: Role| -> Option<(&BundlePath, &Manifest, &NamedBy)> {
        let (manifest, named_by) = manifest?;
        let path = match role {
            Role::Kernel => Some(&manifest.kernel),
            Role::Initrd => Some(&manifest.initrd),
            Role::Rootfs => Some(&manifest.rootfs),
            Role::Modules => manifest.modules.as_ref(),
        };
        path.map(|path| (path, manifest, named_by))
    };
    let roles = [Role::Kernel, Role::Initrd, Role::Rootfs, Role::Modules];
    let part = |role| match (source.of(role), in_manifest(role)) {
        (Some(given), _) => Some(Part {
            role,
            path: given.path.clone(),
            named_by: NamedBy::Setting { key: given.key, origin: given.origin.clone() },
            record: None,
        }),
        (None, Some((path, manifest, named_by))) => Some(Part {
            role,
            path: path.under(dir),
            named_by: named_by.clone(),
            record: manifest.record(path).cloned(),
        }),
        (None, None) => None,
    };
    roles.into_iter().filter_map(part).collect()
}
