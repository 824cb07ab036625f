//! What is real of a simulated host: directories and logs, which the daemon reads and a user may
//! look into. Disks, interfaces and processes are not.

use crate::HostError;
use banger_core::resource::Resource;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
