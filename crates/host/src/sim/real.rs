//! What is real of a simulated host: directories and logs, which the daemon reads and a user may
//! look into. Disks, interfaces and processes are not.

use crate::{Change, HostError};
use banger_core::resource::Resource;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PRIVATE: u32 = 0o700;

/// Makes a directory, and those above it. One that is there already is made private.
pub(super) fn make_dir(path: &Path) -> Result<Change, HostError> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Err(HostError::Foreign { object: path.display().to_string() })
        }
        Ok(meta) if meta.permissions().mode() & 0o777 == PRIVATE => Ok(Change::Unchanged),
        Ok(_) => std::fs::set_permissions(path, Permissions::from_mode(PRIVATE))
            .map(|()| Change::Changed)
            .map_err(HostError::io("set the mode of", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(path)
            .map(|()| Change::Changed)
            .map_err(HostError::io("make the directory", path.display())),
        Err(error) => Err(HostError::io("look at", path.display())(error)),
    }
}

/// Removes a directory with what is in it, if it is there.
pub(super) fn remove_dir(path: &Path) -> Result<(), HostError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::io("remove the directory", path.display())(error))
        }
        _ => Ok(()),
    }
}

/// Adds to a log. As with a process that has its log open, what is written to a log that was
/// removed is lost.
pub(super) fn say(log: &Path, text: &str) -> Result<(), HostError> {
    let opened = OpenOptions::new().append(true).open(log);
    match opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::io("write to the log", log.display())(error))
        }
        _ => Ok(()),
    }
}

/// Whether the files that the resource reads are there.
pub(super) fn check_artifacts(resource: &Resource) -> Result<(), HostError> {
    let files: Vec<&PathBuf> = match resource {
        Resource::ClonedFile { source, .. } => vec![source],
        Resource::DmSnapshot { base, .. } => vec![base],
        Resource::BootInitrd { parts, .. } => parts.iter().collect(),
        Resource::VmmProcess(vmm) => vec![&vmm.program],
        _ => Vec::new(),
    };
    files.into_iter().try_for_each(|path| {
        std::fs::metadata(path).map(drop).map_err(HostError::io("open", path.display()))
    })
}
