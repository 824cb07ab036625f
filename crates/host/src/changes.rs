//! Waiting until somebody has written to files.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often a file is to be looked at that cannot be watched.
const PERIOD: Duration = Duration::from_millis(50);

/// Tells of changes of one file or several.
///
/// A file cannot be watched when it is not there, and when the user has as many inotify instances
/// as the kernel allows (`fs.inotify.max_user_instances`, 128 by default). Then every moment counts
/// as a change.
#[derive(Debug)]
pub struct Changes {
    inotify: Option<AsyncFd<OwnedFd>>,
}

impl Changes {
    /// Tells of changes from now on. It has to be called within a runtime.
    pub fn of(paths: &[&Path]) -> Self {
        let inotify = watch(paths);
        if let Err(error) = &inotify {
            tracing::debug!(?paths, %error, "not all files can be watched");
        }
        Self { inotify: inotify.ok() }
    }

    /// Waits for a change. Several changes since the last call are one.
    pub async fn next(&mut self) {
        let Some(inotify) = &self.inotify else {
            return tokio::time::sleep(PERIOD).await;
        };
        // What the events say does not matter: there is one kind of event, whichever the file.
        let mut events = [0; 1024];
        let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut events)?);
        if let Err(error) = inotify.async_io(Interest::READABLE, read).await {
            tracing::warn!(%error, "the file can no longer be watched");
            self.inotify = None;
        }
    }
}

fn watch(paths: &[&Path]) -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    for path in paths {
        inotify::add_watch(&inotify, *path, WatchFlags::MODIFY)?;
    }
    readable(inotify)
}

/// Has the Tokio runtime watch for the descriptor to be readable.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is an open descriptor, stays one as long as the `AsyncFd` owns it, and
    // always gives the same number.
    #[expect(unsafe_code, reason = "the crate asks for this promise")]
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_write_is_told_of_once() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut changes = Changes::of(&[log.path()]);
        assert!(changes.inotify.is_some());
        for _ in 0..3 {
            log.write_all(b"x").unwrap();
        }
        timeout(PATIENCE, changes.next()).await.unwrap();
        assert!(timeout(PERIOD, changes.next()).await.is_err());
        log.write_all(b"x").unwrap();
        timeout(PATIENCE, changes.next()).await.unwrap();
    }

    #[tokio::test]
    async fn a_write_to_any_of_several_files_is_told_of() {
        let mut logs = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        let mut changes = Changes::of(&[logs[0].path(), logs[1].path()]);
        for log in &mut logs {
            log.write_all(b"x").unwrap();
            timeout(PATIENCE, changes.next()).await.unwrap();
            assert!(timeout(PERIOD, changes.next()).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_worth_a_look_now_and_then() {
        let mut changes = Changes::of(&[Path::new("/nowhere/console.log")]);
        timeout(PATIENCE, changes.next()).await.unwrap();
    }
}
