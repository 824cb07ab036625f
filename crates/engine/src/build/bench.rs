//! What a build does beside the life of its VM: entering the guest, and work on the disk it leaves.

use async_trait::async_trait;
use banger_image::digest::digest_file;
use banger_image::fsck::{self, FsckError};
use banger_provision::{Guest, Login, SessionError, SshGuest};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The means of making images. All but `enter` block.
#[async_trait]
pub trait Workbench: Send + Sync + fmt::Debug {
    /// Opens a session with a guest.
    async fn enter(&self, login: &Login, limit: Duration) -> Result<Arc<dyn Guest>, SessionError>;

    /// Checks the file system on a disk that no VM has, writing nothing.
    fn check(&self, disk: &Path, cancel: &AtomicBool) -> Result<(), FsckError>;

    /// Moves a disk, so that it is at the one place or the other.
    fn take(&self, disk: &Path, target: &Path) -> io::Result<()>;

    /// Copies a kernel or an archive.
    fn copy(&self, file: &Path, target: &Path) -> io::Result<()>;

    /// Copies a root file system: by sharing its blocks where that can be, else with its holes kept.
    fn copy_rootfs(&self, rootfs: &Path, target: &Path, cancel: &AtomicBool) -> io::Result<()>;

    /// The digest of a root file system.
    fn digest(&self, rootfs: &Path, cancel: &AtomicBool) -> io::Result<String>;

    /// The SHA-256 of a file.
    fn sha256(&self, file: &Path) -> io::Result<String>;
}

/// The real means.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealWorkbench;

#[async_trait]
impl Workbench for RealWorkbench {
    async fn enter(&self, login: &Login, limit: Duration) -> Result<Arc<dyn Guest>, SessionError> {
        Ok(Arc::new(SshGuest::connect(login, limit).await?))
    }

    fn check(&self, disk: &Path, cancel: &AtomicBool) -> Result<(), FsckError> {
        fsck::check(disk, cancel)
    }

    fn take(&self, disk: &Path, target: &Path) -> io::Result<()> {
        fs::File::open(disk)?.sync_all()?;
        fs::rename(disk, target)
    }

    fn copy(&self, file: &Path, target: &Path) -> io::Result<()> {
        fs::copy(file, target)?;
        fs::File::open(target)?.sync_all()
    }

    fn copy_rootfs(&self, rootfs: &Path, target: &Path, cancel: &AtomicBool) -> io::Result<()> {
        banger_host::copy_file(rootfs, target, cancel)
    }

    fn digest(&self, rootfs: &Path, cancel: &AtomicBool) -> io::Result<String> {
        digest_file(rootfs, cancel)
    }

    fn sha256(&self, file: &Path) -> io::Result<String> {
        banger_provision::digest(file)
    }
}
