//! What went into an image: `<rootfs>.packages.json`, beside the image's root file system.

use crate::manager::{Installed, PackageManager};
use crate::workshop::Distribution;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The document. Paths are those of the host that built the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub version: u32,
    /// The image's name.
    pub image: String,
    /// When it was built, RFC 3339 in UTC.
    pub built_at: String,
    /// What built it.
    pub builder: String,
    /// What it was built from.
    pub base: Base,
    /// The distribution.
    pub distribution: Distribution,
    /// The kernel that it boots with.
    pub kernel: FileRecord,
    /// The packages that were asked for.
    pub request: Request,
    /// The package manager, if there is one that banger knows.
    pub package_manager: Option<PackageManager>,
    /// Everything that is installed, sorted.
    pub packages: Vec<Installed>,
    /// The scripts, in the order in which they ran.
    pub scripts: Vec<FileRecord>,
    /// What was copied into it.
    pub copies: Vec<CopyRecord>,
    /// The kernel modules that were put into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<ModulesRecord>,
    /// Whether somebody worked in it by hand, of which nothing more is known.
    #[serde(default)]
    pub by_hand: bool,
}

/// The image that another was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its name.
    pub image: String,
    /// Its id.
    pub id: String,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// The digest of that, as `image show` has it.
    pub digest: String,
}

/// A file by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Where it was.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The list that was read, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The SHA-256 of that list alone, normalised, by which a later change is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_sha256: Option<String>,
    /// All that was asked for, normalised.
    pub packages: Vec<String>,
    /// The SHA-256 of that, one name a line.
    pub sha256: String,
}

/// Something that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// Where it was on the host.
    pub from: PathBuf,
    /// Where it is in the image.
    pub to: String,
}

/// Kernel modules that were installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulesRecord {
    /// Where they were.
    pub path: PathBuf,
    /// The releases of the kernels that they are for.
    pub releases: Vec<String>,
}

impl Manifest {
    /// The version that is written now.
    pub const VERSION: u32 = 1;

    /// Where the document of a root file system is.
    pub fn path_of(rootfs: &Path) -> PathBuf {
        with_suffix(rootfs, ".packages.json")
    }

    /// Where the bill of materials of a root file system is.
    pub fn sbom_path_of(rootfs: &Path) -> PathBuf {
        with_suffix(rootfs, ".spdx.json")
    }

    /// The document as text.
    pub fn render(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("it has string keys and whole numbers only") + "\n"
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}
