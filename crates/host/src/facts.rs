//! Questions about the host whose answers decide how, or whether, a VM can run.
//!
//! Nothing here changes the host, except that [`reflink_supported`] makes two empty files for a
//! moment.

mod distribution;
mod host;
mod network;

pub use distribution::Distribution;
pub use host::{Depth, HostFacts, Memory, version_line};
pub(crate) use network::iptables_words;
pub use network::{
    Concern, Fate, Gate, Hop, NetworkFacts, NetworkQuestion, Obstructed, Rival, Ways,
};

use crate::cmd::find_program;
use crate::linux;
use banger_core::unit::Bytes;
use banger_core::vm::OverlayMethod;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What helps where the kernel cannot filter what crosses a bridge.
pub const BRIDGE_FILTER_REMEDY: &str =
    "use a kernel with CONFIG_NF_TABLES_BRIDGE, as every distribution has one";

/// Whether files in the directory can share blocks (FICLONE): on btrfs, on XFS with reflink.
///
/// The directory must exist and be writable.
pub fn reflink_supported(dir: &Path) -> bool {
    let probe = |suffix: &str| {
        let path = dir.join(format!(".reflink-probe-{}-{suffix}", std::process::id()));
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        options.map(|file| Probe { file, path })
    };
    let cloned = probe("source").and_then(|mut source| {
        // An empty file can be cloned to nowhere; one block cannot.
        source.file.write_all(&[1; 4096])?;
        linux::reflink(&probe("target")?.file, &source.file)
    });
    cloned.is_ok()
}

/// A file that goes when it is dropped.
struct Probe {
    file: File,
    path: PathBuf,
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a probe is left");
        }
    }
}

/// Whether device-mapper can be used; else the reason, as a clause.
pub fn device_mapper() -> Result<(), String> {
    linux::device_mapper()?;
    if !Path::new("/dev/loop-control").exists() {
        return Err("there is no /dev/loop-control".to_owned());
    }
    match find_program("dmsetup") {
        Some(_) => Ok(()),
        None => Err("`dmsetup` is not installed".to_owned()),
    }
}

/// Whether TAP interfaces can be made; else the reason, as a clause.
pub fn tap_available() -> Result<(), String> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map(drop)
        .map_err(|error| format!("/dev/net/tun cannot be opened: {error}"))
}

/// The room that is left for an unprivileged user in the directory's file system.
pub fn free_space(dir: &Path) -> io::Result<Bytes> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Whether a file in the directory can measure so much; else the reason, as a clause. `None` where that
/// cannot be tried. The file that is tried has no name, so nothing can be left of it.
pub fn file_can_measure(dir: &Path, bytes: Bytes) -> Option<Result<(), String>> {
    use rustix::fs::{Mode, OFlags};
    // A process that goes beyond this limit is killed, and is not told first (setrlimit(2)).
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current
        && most < bytes.0
    {
        return Some(Err(format!("this process may write {} at most", Bytes(most))));
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR).ok()?;
    let tried = rustix::fs::ftruncate(&file, bytes.0).map_err(std::io::Error::from);
    Some(tried.map_err(|error| error.to_string()))
}

/// Whether the program runs with root's privileges.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What this process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThisProcess {
    /// Memory that is resident now.
    pub resident: Bytes,
    /// Processor time used so far, in user and kernel mode together.
    pub cpu: Duration,
    /// How many file descriptors it has.
    pub open_files: u64,
}

/// What this process uses; `None` where `/proc` does not tell.
pub fn this_process() -> Option<ThisProcess> {
    linux::this_process()
}

/// The room that a file takes on its disk, holes not counted.
pub fn allocated_bytes(path: &Path) -> io::Result<Bytes> {
    // In units of 512 bytes, whatever the file system's block size (stat(2)).
    Ok(Bytes(fs::metadata(path)?.blocks() * 512))
}

/// How root disks in the directory are best layered over their images, and why.
pub fn choose_overlay(dir: &Path) -> (OverlayMethod, String) {
    if reflink_supported(dir) {
        let why = format!("the file system of {} shares blocks between files", dir.display());
        return (OverlayMethod::Reflink, why);
    }
    let no_reflink = format!("the file system of {} cannot share blocks", dir.display());
    match device_mapper() {
        Ok(()) if is_root() => {
            (OverlayMethod::DmSnapshot, format!("{no_reflink}, and device-mapper is there"))
        }
        Ok(()) => (OverlayMethod::Copy, format!("{no_reflink}, and device-mapper needs root")),
        Err(reason) => (OverlayMethod::Copy, format!("{no_reflink}, and {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_leaves_nothing_behind_and_gives_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (method, why) = choose_overlay(dir.path());
        assert_eq!(reflink_supported(dir.path()), method == OverlayMethod::Reflink);
        assert!(!why.is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_tried_and_nothing_is_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let tried = |bytes| file_can_measure(dir.path(), Bytes(bytes));
        assert_eq!(tried(1 << 30), Some(Ok(())));
        // More than the kernel has numbers for.
        assert!(tried(u64::MAX).unwrap().is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(file_can_measure(&dir.path().join("gone"), Bytes(1)), None);
    }

    #[test]
    fn a_hole_takes_no_room() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 30).unwrap();
        assert_eq!(allocated_bytes(file.path()).unwrap(), Bytes(0));
        assert!(free_space(file.path().parent().unwrap()).unwrap() > Bytes(0));
    }
}
