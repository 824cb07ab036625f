//! `bundle.json`: what is in a bundle and where it came from.

use super::{BundleError, LEGACY_FILES};
use banger_core::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The version of the manifest that this banger writes, and the only one that it reads.
pub const MANIFEST_VERSION: u32 = 1;

/// The content of `bundle.json`. Paths are relative to the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// The name of the image.
    pub name: ImageName,
    /// The uncompressed kernel.
    pub kernel: BundlePath,
    /// The archive of the kernel's modules.
    pub initrd: BundlePath,
    /// The root file system.
    pub rootfs: BundlePath,
    /// The kernel's whole module tree (`lib/modules/<release>`), if the bundle has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<BundlePath>,
    /// Words that the image adds to the kernel's command line.
    #[serde(default)]
    pub boot_args: Vec<String>,
    /// Where it came from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// Where a bundle came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// When it was built, as the builder's clock said (RFC 3339).
    pub built: String,
    /// The Debian suite.
    pub suite: String,
    /// The kernel's package, then those of the root file system, by name.
    pub packages: Vec<PackageVersion>,
    /// The files and their sizes.
    pub files: BTreeMap<BundlePath, FileRecord>,
}

/// A package that is in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageVersion {
    /// The binary package's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its length in bytes, holes included.
    pub bytes: u64,
}

/// A path of a bundle that leads out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is no path inside of the bundle")]
pub struct BundlePathError {
    /// The path.
    pub path: String,
}

/// A relative path without `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundlePath(String);

impl BundlePath {
    /// The path below the bundle's directory.
    pub fn under(&self, dir: &Path) -> PathBuf {
        dir.join(&self.0)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BundlePath {
    type Error = BundlePathError;

    fn try_from(path: String) -> Result<Self, BundlePathError> {
        let plain = |part| matches!(part, Component::Normal(_));
        if path.is_empty() || path.contains('\0') || !Path::new(&path).components().all(plain) {
            return Err(BundlePathError { path });
        }
        Ok(Self(path))
    }
}

impl From<BundlePath> for String {
    fn from(path: BundlePath) -> String {
        path.0
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a manifest's text is none.
#[derive(Debug)]
pub(super) enum ParseError {
    Version(u32),
    Json(serde_json::Error),
}

impl ParseError {
    pub(super) fn at(self, path: &Path) -> BundleError {
        let path = path.to_owned();
        match self {
            Self::Version(version) => BundleError::Version { path, version },
            Self::Json(source) => BundleError::Manifest { path, source },
        }
    }
}

impl Manifest {
    /// Reads the text. The version is looked at first: a later one may have other fields.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ParseError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(text).map_err(ParseError::Json)?;
        if version != MANIFEST_VERSION {
            return Err(ParseError::Version(version));
        }
        serde_json::from_slice(text).map_err(ParseError::Json)
    }

    /// The manifest of a directory that has none but the legacy file names.
    pub(super) fn legacy() -> Self {
        let [kernel, initrd, rootfs] = LEGACY_FILES.map(|file| BundlePath(file.to_owned()));
        Self {
            version: MANIFEST_VERSION,
            name: "default".parse().expect("the legacy name follows the rules"),
            kernel,
            initrd,
            rootfs,
            modules: None,
            boot_args: Vec::new(),
            provenance: None,
        }
    }

    /// The text of the file.
    pub(super) fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plain struct serialises");
        text.push('\n');
        text
    }
}
