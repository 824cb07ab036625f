//! Unpacking a bundle from an archive, which is a file or comes from a URL.
//!
//! ```text
//! file or URL ─► checksum ─► decompressed ─► tar ─► scratch directory, each file with its checksum
//!                  └─ must be the given one ──────────► `fetched-<id>/`, then bundle.json, last
//! ```
//!
//! The archive's files stay together in a directory that is named for the archive's checksum. So a
//! fetch never touches the files of an earlier one or of a build, over which VMs may have their layers;
//! and the same archive, fetched again, mends its own directory by exchanging it as a whole.

mod decode;
mod download;
mod error;
mod intake;
mod place;
mod unpack;

pub use error::FetchError;
pub use place::{Place, PlaceError};

use super::manifest::{ArchiveOrigin, BundlePath, FileRecord, Manifest, Provenance};
use super::workshop::{Published, Workshop};
use super::{Bundle, BundleError, BundleSource, LEGACY_FILES, MANIFEST_FILE, Mend, NamedBy};
use crate::artifact::{check_modules, check_rootfs_whole};
use crate::bundle::build::OnPath;
use crate::checksum::Checksum;
use intake::Intake;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What to fetch, and where to.
#[derive(Debug)]
pub struct FetchRequest<'a> {
    /// The bundle's directory; it is created if it is missing.
    pub dir: &'a Path,
    /// The archive.
    pub from: &'a Place,
    /// The archive's checksum. A URL needs one.
    pub sha256: Option<Checksum>,
    /// The time now in RFC 3339; it is recorded.
    pub now: &'a str,
    /// Becomes true when the fetch shall end early.
    pub cancel: &'a AtomicBool,
}

/// The parts of a fetch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStep {
    /// Reading and unpacking the archive.
    Unpack,
    /// Looking at what was unpacked.
    Check,
    /// Moving the files into the bundle.
    Publish,
}

impl fmt::Display for FetchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpack => "fetching and unpacking the archive",
            Self::Check => "checking what was unpacked",
            Self::Publish => "publishing the bundle",
        })
    }
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchProgress {
    /// A step begins.
    Step(FetchStep),
    /// So much of the archive has been read.
    Read {
        /// Bytes.
        done: u64,
        /// The whole archive, if its length is known.
        total: Option<u64>,
    },
}

/// What a fetch came to.
#[derive(Debug)]
pub struct Fetched {
    /// The bundle.
    pub bundle: Bundle,
    /// Whether anything is other than before.
    pub changed: bool,
}

/// Fetches a bundle and opens it.
///
/// # Errors
///
/// When the archive cannot be had, has another checksum, holds anything that does not belong into a
/// bundle, or lacks what does. The directory then holds the bundle that it held before, if any.
pub fn fetch(
    request: &FetchRequest<'_>,
    progress: &dyn Fn(FetchProgress),
) -> Result<Fetched, FetchError> {
    if matches!(request.from, Place::Url(_)) && request.sha256.is_none() {
        return Err(FetchError::NoChecksum { from: request.from.to_string() });
    }
    let workshop = Workshop::open(request.dir)?;
    progress(FetchProgress::Step(FetchStep::Unpack));
    let tree = workshop.create_dir("tree")?;
    let (sum, records) = take_in(request, &tree, progress)?;
    progress(FetchProgress::Step(FetchStep::Check));
    let root = root_of(&tree).doing("list", &tree)?;
    let unpacked = Unpacked { root, tree, records };
    let manifest = unpacked.manifest(request, sum)?;

    progress(FetchProgress::Step(FetchStep::Publish));
    let name = format!("fetched-{}", sum.short());
    let (name, files) = publish(&workshop, &unpacked.root, &name, &manifest, request.cancel)?;
    let manifest = manifest.inside(&name);
    let current = Bundle::read(&BundleSource::at(workshop.dir()));
    let is_current = current.is_ok_and(|bundle| is_same(bundle.manifest(), &manifest));
    if !is_current {
        let path = workshop.path(MANIFEST_FILE);
        fs::write(&path, manifest.render()).doing("write", &path)?;
        workshop.publish(MANIFEST_FILE)?;
    }
    let bundle = Bundle::open(&BundleSource::at(workshop.dir())).map_err(FetchError::Unusable)?;
    Ok(Fetched { bundle, changed: !is_current || files == Published::Changed })
}

/// Reads the archive to its end and unpacks it. The checksum is looked at first of all: an archive that
/// is another one than was asked for may fail in any way.
fn take_in(
    request: &FetchRequest<'_>,
    tree: &Path,
    progress: &dyn Fn(FetchProgress),
) -> Result<(Checksum, BTreeMap<String, FileRecord>), FetchError> {
    let from = request.from.to_string();
    let source = request.from.open()?;
    let mut intake = Intake::new(source, request.cancel, progress);
    let unpacked = decode::decoder(BufReader::new(&mut intake))
        .map_err(unpack::UnpackError::Read)
        .and_then(|decoder| unpack::unpack(decoder, tree));
    let drained = intake.drain();
    if request.cancel.load(Ordering::Relaxed) {
        return Err(FetchError::Cancelled);
    }
    drained.map_err(|source| error::while_reading(request.from, source))?;
    let found = intake.finish();
    match request.sha256 {
        Some(wanted) if wanted != found => Err(FetchError::Checksum { from, wanted, found }),
        _ => Ok((found, unpacked.map_err(|source| FetchError::of_unpacking(from, source))?)),
    }
}

/// Where in the tree the bundle is: archives are often made of a directory.
fn root_of(tree: &Path) -> std::io::Result<PathBuf> {
    let holds = |name: &str| tree.join(name).exists();
    if holds(MANIFEST_FILE) || LEGACY_FILES.into_iter().any(holds) {
        return Ok(tree.to_owned());
    }
    let entries: Vec<_> = fs::read_dir(tree)?.collect::<Result<_, _>>()?;
    match entries.as_slice() {
        [only] if only.file_type()?.is_dir() => Ok(only.path()),
        _ => Ok(tree.to_owned()),
    }
}

/// What was unpacked.
struct Unpacked {
    tree: PathBuf,
    root: PathBuf,
    /// Every file by its path below the tree.
    records: BTreeMap<String, FileRecord>,
}

impl Unpacked {
    /// The manifest for what was unpacked, once all of it was seen to be good.
    fn manifest(
        &self,
        request: &FetchRequest<'_>,
        sha256: Checksum,
    ) -> Result<Manifest, FetchError> {
        let source = BundleSource::at(&self.root);
        let bundle = Bundle::read(&source).map_err(FetchError::Unusable)?;
        if let Some(problem) = bundle.problems().into_iter().next() {
            return Err(FetchError::Unusable(problem));
        }
        let manifest = bundle.manifest().clone();
        let mut files = BTreeMap::new();
        for (path, known) in manifest.records() {
            files.insert(path.clone(), self.record(path, Some(known))?);
        }
        for path in [&manifest.kernel, &manifest.initrd, &manifest.rootfs] {
            files.insert(path.clone(), self.record(path, None)?);
        }
        let image = bundle.image();
        image
            .initrd
            .as_deref()
            .map_or(Ok(()), check_modules)
            .and_then(|()| check_rootfs_whole(&image.rootfs))
            .map_err(|source| {
                let (dir, mend) = (self.root.clone(), Mend::Unknown);
                FetchError::Unusable(BundleError::Artifact { dir, source, mend })
            })?;
        let archive = ArchiveOrigin {
            from: request.from.to_string(),
            sha256,
            fetched: request.now.to_owned(),
        };
        let provenance = manifest.provenance.unwrap_or_default();
        let provenance = Provenance { archive: Some(archive), files, ..provenance };
        let version = super::MANIFEST_VERSION;
        Ok(Manifest { version, provenance: Some(provenance), ..manifest })
    }

    /// What is known of a file since it was unpacked, which is to be what the archive's manifest knows.
    fn record(
        &self,
        path: &BundlePath,
        known: Option<&FileRecord>,
    ) -> Result<FileRecord, FetchError> {
        let full = path.under(&self.root);
        let below = full.strip_prefix(&self.tree).unwrap_or(&full).to_string_lossy().into_owned();
        let Some(record) = self.records.get(&below) else {
            let (role, named_by, mend) = (super::Role::Rootfs, NamedBy::Manifest, Mend::Unknown);
            return Err(FetchError::Unusable(BundleError::Dangling {
                role,
                path: full,
                named_by,
                mend,
            }));
        };
        match (known.and_then(|known| known.sha256), record.sha256) {
            (Some(wanted), Some(found)) if wanted != found => {
                let mend = Mend::Unknown;
                Err(FetchError::Unusable(BundleError::Changed { path: full, wanted, found, mend }))
            }
            _ => Ok(record.clone()),
        }
    }
}

/// Puts the unpacked tree into the bundle's directory, under its name or, where an exchange cannot be
/// had, a name of its own. One that is there and whole stays.
fn publish(
    workshop: &Workshop,
    root: &Path,
    name: &str,
    manifest: &Manifest,
    cancel: &AtomicBool,
) -> Result<(String, Published), FetchError> {
    let there = workshop.dir().join(name);
    if is_whole(&there, manifest, cancel) {
        return Ok((name.to_owned(), Published::Unchanged));
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(FetchError::Cancelled);
    }
    Ok((workshop.publish_tree(root, name)?, Published::Changed))
}

/// Whether a directory has the files of a manifest as they are recorded.
fn is_whole(dir: &Path, manifest: &Manifest, cancel: &AtomicBool) -> bool {
    dir.is_dir()
        && manifest.records().all(|(path, record)| {
            let path = path.under(dir);
            let has_size = fs::metadata(&path).is_ok_and(|meta| meta.len() == record.bytes);
            has_size && Checksum::of_file(&path, cancel).ok() == record.sha256
        })
}

/// Whether two manifests say the same but for the time.
fn is_same(one: &Manifest, other: &Manifest) -> bool {
    let timeless = |manifest: &Manifest| {
        let mut manifest = manifest.clone();
        if let Some(Provenance { archive: Some(archive), .. }) = &mut manifest.provenance {
            archive.fetched.clear();
            archive.from.clear();
        }
        manifest
    };
    timeless(one) == timeless(other)
}

#[cfg(test)]
mod tests;
