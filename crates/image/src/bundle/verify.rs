//! Reading all of a bundle: every file against its checksum, and whether each part can do its work.

use super::parts::{BundleSource, Part, Role};
use super::{Bundle, BundleError, NamedBy};
use crate::artifact::{self, ArtifactError};
use crate::checksum::Checksum;
use banger_core::error::{ErrorCode, Explain};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a bundle that is as it was recorded consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many files have the size and the checksum that were recorded.
    pub as_recorded: usize,
    /// Files of which no checksum is known.
    pub unrecorded: Vec<PathBuf>,
}

/// Why a bundle is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// One thing is wrong.
    #[error(transparent)]
    Fault(#[from] BundleError),
    /// Several things are.
    #[error("the bundle `{}` has {} faults", dir.display(), faults.len())]
    Faults {
        /// The bundle's directory.
        dir: PathBuf,
        /// Each of them.
        faults: Vec<BundleError>,
    },
    /// It was ended early.
    #[error("the bundle was not read to its end")]
    Cancelled,
}

impl Explain for VerifyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Fault(fault) => fault.code(),
            Self::Faults { .. } => ErrorCode::BundleUnusable,
            Self::Cancelled => ErrorCode::Interrupted,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Fault(fault) => fault.hints(),
            Self::Faults { faults, .. } => {
                let mut hints: Vec<String> = Vec::new();
                for hint in faults.iter().flat_map(Explain::hints) {
                    if !hints.contains(&hint) {
                        hints.push(hint);
                    }
                }
                hints
            }
            Self::Cancelled => Vec::new(),
        }
    }
}

/// Reads everything. `progress` is called with the name of each file before it is read.
///
/// # Errors
///
/// With all that is wrong, and not only the first of it.
pub fn verify(
    source: &BundleSource,
    cancel: &AtomicBool,
    progress: &dyn Fn(&str),
) -> Result<Verified, VerifyError> {
    let bundle = Bundle::read(source)?;
    let mut faults = bundle.problems();
    let mut verified = Verified::default();
    let recorded = bundle.manifest().records().map(|(name, record)| {
        (name.to_string(), name.under(bundle.dir()), record.bytes, record.sha256)
    });
    for (name, path, bytes, sha256) in recorded {
        if fs::metadata(&path).map_or(true, |meta| meta.len() != bytes) {
            // It is among the problems already.
            continue;
        }
        let Some(wanted) = sha256 else {
            verified.unrecorded.push(path);
            continue;
        };
        progress(&name);
        match compare(&bundle, &path, wanted, cancel)? {
            None => verified.as_recorded += 1,
            Some(fault) => faults.push(fault),
        }
    }
    for part in bundle.parts() {
        if part.record.is_none() && part.role != Role::Modules && part.path.is_file() {
            verified.unrecorded.push(part.path.clone());
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(VerifyError::Cancelled);
        }
        let is_known = faults.iter().any(|fault| is_about(fault, part));
        faults.extend(if is_known { None } else { inside(&bundle, part) });
    }
    match faults.len() {
        0 => Ok(verified),
        1 => Err(faults.swap_remove(0).into()),
        _ => Err(VerifyError::Faults { dir: bundle.dir().to_owned(), faults }),
    }
}

fn compare(
    bundle: &Bundle,
    path: &Path,
    wanted: Checksum,
    cancel: &AtomicBool,
) -> Result<Option<BundleError>, VerifyError> {
    match Checksum::of_file(path, cancel) {
        Ok(found) if found == wanted => Ok(None),
        Ok(found) => {
            let (path, mend) = (path.to_owned(), bundle.mend());
            Ok(Some(BundleError::Changed { path, wanted, found, mend }))
        }
        Err(_) if cancel.load(Ordering::Relaxed) => Err(VerifyError::Cancelled),
        Err(source) => Ok(Some(BundleError::Read { path: path.to_owned(), source })),
    }
}

/// Whether something is known to be wrong with the part already, so that its inside need not be
/// looked at.
fn is_about(fault: &BundleError, part: &Part) -> bool {
    match fault {
        BundleError::HalfUnpacked { .. } => !matches!(part.named_by, NamedBy::Setting { .. }),
        BundleError::Artifact { source, .. } | BundleError::Setting { source, .. } => {
            source.path() == part.path
        }
        BundleError::Dangling { path, .. }
        | BundleError::NoModules { path }
        | BundleError::WrongSize { path, .. }
        | BundleError::Changed { path, .. }
        | BundleError::Read { path, .. } => *path == part.path,
        _ => false,
    }
}

/// What the file's inside shows, beyond its beginning.
fn inside(bundle: &Bundle, part: &Part) -> Option<BundleError> {
    let checked: Result<(), ArtifactError> = match part.role {
        Role::Kernel | Role::Modules => Ok(()),
        Role::Initrd => artifact::check_modules(&part.path),
        Role::Rootfs => artifact::check_rootfs_whole(&part.path),
    };
    checked.err().map(|source| bundle.unusable(part, source))
}
