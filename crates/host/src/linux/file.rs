//! Files that are there whole or not at all.
//!
//! A file is written under its name with `.part` appended and then renamed. A `.part` that a crash
//! left is overwritten by the next attempt, and goes with the file when that is removed.

use crate::{Change, HostError};
use banger_core::unit::Bytes;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a name ends with while the file is incomplete.
pub(super) const PART: &str = ".part";

/// Where the file is while it is incomplete.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(PART);
    name.into()
}

/// Whether the file is there, or a part of it.
pub(super) fn is_begun(path: &Path) -> bool {
    [path, &part(path)].into_iter().any(|path| fs::symlink_metadata(path).is_ok())
}

/// Makes the file by `fill`, mode 0600. If that fails, nothing is left.
pub(super) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut File, &Path) -> Result<(), HostError>,
) -> Result<(), HostError> {
    let part = part(path);
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&part)
        .map_err(HostError::io("create", part.display()))
        .and_then(|mut file| fill(&mut file, &part))
        .and_then(|()| fs::rename(&part, path).map_err(HostError::io("create", path.display())));
    if made.is_err() {
        discard(&part);
    }
    made
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an incomplete file is left");
    }
}

/// The size of the file; `None` if there is none. What is no regular file is an error.
pub(super) fn size(path: &Path) -> Result<Option<Bytes>, HostError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Ok(Some(Bytes(meta.len()))),
        Ok(_) => Err(HostError::Foreign { object: path.display().to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("look at", path.display())(error)),
    }
}

/// Appends a hole to a file that measures less than `wanted`.
pub(super) fn grow(path: &Path, is: Bytes, wanted: Bytes) -> Result<Change, HostError> {
    if is >= wanted {
        return Ok(Change::Unchanged);
    }
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .and_then(|file| file.set_len(wanted.0))
        .map_err(HostError::io("grow", path.display()))?;
    Ok(Change::Changed)
}

/// Removes the file, complete or not.
pub(super) fn remove(path: &Path) -> Result<Change, HostError> {
    let mut change = Change::Unchanged;
    for path in [part(path), path.to_owned()] {
        if unlink(&path)? == Change::Changed {
            change = Change::Changed;
        }
    }
    Ok(change)
}

/// Removes the one file.
pub(super) fn unlink(path: &Path) -> Result<Change, HostError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(Change::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::Unchanged),
        Err(error) => Err(HostError::io("remove", path.display())(error)),
    }
}
