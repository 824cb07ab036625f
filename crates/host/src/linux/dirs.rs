//! Directories that nobody else can enter, from birth.

use crate::{Change, HostError};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const PRIVATE: u32 = 0o700;

/// Makes the directory and its parents. One that is there already is made private.
pub(super) fn ensure(path: &Path) -> Result<Change, HostError> {
    let failed = HostError::io("make the directory", path.display());
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Err(HostError::Foreign { object: path.display().to_string() })
        }
        Ok(meta) if meta.permissions().mode() & 0o777 == PRIVATE => Ok(Change::Unchanged),
        Ok(_) => {
            fs::set_permissions(path, Permissions::from_mode(PRIVATE)).map_err(failed)?;
            Ok(Change::Changed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(failed)?;
            Ok(Change::Changed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Removes the directory with all that is in it; symbolic links in it are not followed.
pub(super) fn remove(path: &Path) -> Result<Change, HostError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(Change::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::Unchanged),
        Err(error) => Err(HostError::io("remove the directory", path.display())(error)),
    }
}
