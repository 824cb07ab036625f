//! Directories that nobody else can enter, from birth; simulated hosts have them too.

use crate::{Change, HostError};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const PRIVATE: u32 = 0o700;

/// Makes the directory and its parents. One that is there already is made private.
pub(crate) fn ensure(path: &Path) -> Result<Change, HostError> {
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
pub(crate) fn remove(path: &Path) -> Result<Change, HostError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(Change::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::Unchanged),
        Err(error) => Err(HostError::io("remove the directory", path.display())(error)),
    }
}

/// Gives a directory that was made under another name its own, after its files have reached the
/// disk. One that has the name already is left as it is.
pub(crate) fn publish(draft: &Path, path: &Path) -> Result<Change, HostError> {
    let failed = || HostError::io("put in place", path.display());
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Ok(Change::Unchanged);
    }
    let entries = fs::read_dir(draft).map_err(HostError::io("list", draft.display()))?;
    for entry in entries {
        sync(&entry.map_err(HostError::io("list", draft.display()))?.path())?;
    }
    sync(draft)?;
    fs::rename(draft, path).map_err(failed())?;
    path.parent().map_or(Ok(()), sync)?;
    Ok(Change::Changed)
}

fn sync(path: &Path) -> Result<(), HostError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(HostError::io("write to the disk", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_published_whole_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let (draft, home) = (dir.path().join("a.part"), dir.path().join("a"));
        let missing = publish(&draft, &home).unwrap_err().to_string();
        assert!(missing.starts_with("could not list `"), "{missing}");
        assert_eq!(ensure(&draft).unwrap(), Change::Changed);
        fs::write(draft.join("rootfs"), b"whole").unwrap();
        assert_eq!(publish(&draft, &home).unwrap(), Change::Changed);
        assert_eq!(fs::read(home.join("rootfs")).unwrap(), b"whole");
        assert!(!draft.exists());
        assert_eq!(publish(&draft, &home).unwrap(), Change::Unchanged);
        assert_eq!(remove(&home).unwrap(), Change::Changed);
        assert_eq!(remove(&home).unwrap(), Change::Unchanged);
    }
}
