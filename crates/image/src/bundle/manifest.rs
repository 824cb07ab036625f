//! `bundle.json`: what is in a bundle and where it came from.

use super::{BundleError, LEGACY_FILES};
use crate::checksum::Checksum;
use banger_core::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The version of the manifest that this banger writes. It reads the earlier ones too: version 1 had
/// no checksums, and knew builds alone.
pub const MANIFEST_VERSION: u32 = 2;

/// The content of `bundle.json`. Paths are relative to the bundle. `docs/bundle.md` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the schema: [`MANIFEST_VERSION`].
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// When it was built, as the builder's clock said (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built: Option<String>,
    /// The Debian suite, of one that was built from packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The archive, of one that was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveOrigin>,
    /// The kernel's package, then those of the root file system, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageVersion>,
    /// The files with their sizes and checksums.
    pub files: BTreeMap<BundlePath, FileRecord>,
}

/// The archive that a bundle was unpacked from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveOrigin {
    /// Its path or URL.
    pub from: String,
    /// Its checksum.
    pub sha256: Checksum,
    /// When it was unpacked (RFC 3339).
    pub fetched: String,
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
    /// Its checksum, if it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Checksum>,
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

    /// The same path inside of a directory of the bundle.
    pub(super) fn inside(&self, dir: &str) -> Self {
        Self(format!("{dir}/{}", self.0))
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
    Empty,
    Version(u32),
    Json(serde_json::Error),
}

impl ParseError {
    pub(super) fn at(self, path: &Path) -> BundleError {
        let path = path.to_owned();
        match self {
            Self::Empty => BundleError::Template { path },
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
        if is_template(text) {
            return Err(ParseError::Empty);
        }
        let Versioned { version } = serde_json::from_slice(text).map_err(ParseError::Json)?;
        if version > MANIFEST_VERSION || version == 0 {
            return Err(ParseError::Version(version));
        }
        serde_json::from_slice(text).map_err(ParseError::Json)
    }

    /// What is known of the files by their paths.
    pub(super) fn records(&self) -> impl Iterator<Item = (&BundlePath, &FileRecord)> {
        self.provenance.iter().flat_map(|provenance| &provenance.files)
    }

    /// What is known of one file.
    pub(super) fn record(&self, path: &BundlePath) -> Option<&FileRecord> {
        self.provenance.as_ref()?.files.get(path)
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

    /// The same manifest for files that were moved into a directory of the bundle.
    pub(super) fn inside(self, dir: &str) -> Self {
        let provenance = self.provenance.map(|provenance| Provenance {
            files: provenance
                .files
                .into_iter()
                .map(|(path, record)| (path.inside(dir), record))
                .collect(),
            ..provenance
        });
        Self {
            kernel: self.kernel.inside(dir),
            initrd: self.initrd.inside(dir),
            rootfs: self.rootfs.inside(dir),
            modules: self.modules.map(|modules| modules.inside(dir)),
            provenance,
            ..self
        }
    }

    /// The text of the file.
    pub(super) fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plain struct serialises");
        text.push('\n');
        text
    }
}

/// Whether nothing was filled in: no text at all, no field, or no path for kernel and root file
/// system.
fn is_template(text: &[u8]) -> bool {
    if text.trim_ascii().is_empty() {
        return true;
    }
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(text) else { return false };
    let is_empty = |name: &str| match fields.get(name) {
        None => fields.len() <= 1,
        Some(value) => value.is_null() || value.as_str().is_some_and(str::is_empty),
    };
    is_empty("kernel") && is_empty("rootfs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    const DOCUMENT: &str = include_str!("../../../../docs/bundle.md");

    /// A manifest in which nothing is left out.
    fn whole() -> Value {
        let sum = "ab".repeat(32);
        json!({
            "version": 2, "name": "default", "kernel": "k", "initrd": "i", "rootfs": "r",
            "modules": "m", "boot_args": ["quiet"],
            "provenance": {
                "built": "x", "suite": "y", "packages": [{ "name": "udev", "version": "5" }],
                "archive": { "from": "/a", "sha256": sum, "fetched": "z" },
                "files": { "k": { "bytes": 1, "sha256": sum } },
            },
        })
    }

    /// The fields below a value; those of lists and maps stand for each member.
    fn fields(value: &Value, above: &str, found: &mut BTreeSet<String>) {
        let Value::Object(members) = value else { return };
        for (name, member) in members {
            let path = format!("{above}{name}");
            let inside = match member {
                Value::Array(list) => list.first().unwrap_or(&Value::Null),
                Value::Object(map) if name == "files" => map.values().next().unwrap(),
                other => other,
            };
            fields(inside, &format!("{path}."), found);
            found.insert(path);
        }
    }

    #[test]
    fn the_document_has_exactly_the_fields_of_the_type() {
        // Every field of the type is in the text, or it would be missing after the way there and back.
        let manifest = Manifest::parse(whole().to_string().as_bytes()).unwrap();
        let Manifest { provenance: Some(Provenance { built: Some(_), .. }), .. } = &manifest else {
            panic!("{manifest:?}");
        };
        let mut known = BTreeSet::new();
        fields(&serde_json::from_str(&manifest.render()).unwrap(), "", &mut known);
        let mut given = BTreeSet::new();
        fields(&whole(), "", &mut given);
        assert_eq!(known, given);
        let section = DOCUMENT.split("\n## ").find(|part| part.starts_with("bundle.json")).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.map(str::to_owned).collect::<BTreeSet<_>>(), known);
        assert!(section.contains(&format!("the version of the schema, {MANIFEST_VERSION} |")));
    }

    #[test]
    fn the_example_of_the_document_is_a_manifest() {
        let example = DOCUMENT.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let manifest = Manifest::parse(example.as_bytes()).unwrap();
        assert_eq!(manifest.version, MANIFEST_VERSION);
    }

    #[test]
    fn the_first_version_is_still_read() {
        let first = r#"{"version": 1, "name": "default", "kernel": "k", "initrd": "i", "rootfs": "r",
            "boot_args": [], "provenance": {"built": "x", "suite": "bookworm", "packages": [],
            "files": {"k": {"bytes": 7}}}}"#;
        let manifest = Manifest::parse(first.as_bytes()).unwrap();
        let record = manifest.record(&manifest.kernel).unwrap();
        assert_eq!(*record, FileRecord { bytes: 7, sha256: None });
    }
}
