//! The daemon's directories and its socket: nobody else's from the moment they exist.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Why a directory or the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A system call failed.
    #[error("could not {action} `{}`", .path.display())]
    Io {
        /// What was being attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The path is a link or a file.
    #[error("`{}` is not a directory", .path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else's.
    #[error("`{}` belongs to user {owner}, and this is user {own}", .path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        own: u32,
    },
    /// Others could enter it, and it holds something.
    #[error("`{}` is open to other users (mode {mode:03o})", .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A daemon with another state directory answers on the socket.
    #[error("another daemon answers on `{}`", .path.display())]
    Busy {
        /// The socket.
        path: PathBuf,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError::Io { action, path, source }
}

/// Makes a directory with its parents, each with mode 0700. One that exists is left as it is.
pub fn ensure_dir(path: &Path) -> Result<(), PlaceError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed("create the directory", path))
}

/// Makes a directory that nobody else can enter, or checks that an existing one is such. An empty
/// one that is open to others is closed; one with something in it is refused, for it may serve
/// another purpose.
pub fn ensure_private_dir(path: &Path) -> Result<(), PlaceError> {
    if let Some(parent) = path.parent() {
        ensure_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create the directory", path)(error)),
    }
    let meta = path.symlink_metadata().map_err(failed("look at", path))?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        return Err(PlaceError::NoDirectory { path: path.to_owned() });
    }
    if meta.uid() != own {
        return Err(PlaceError::Owner { path: path.to_owned(), owner: meta.uid(), own });
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if fs::read_dir(path).map_err(failed("read", path))?.next().is_some() {
        return Err(PlaceError::Open { path: path.to_owned(), mode });
    }
    let closed = fs::set_permissions(path, Permissions::from_mode(0o700));
    closed.map_err(failed("change the permissions of", path))
}

/// The daemon's socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Binds the socket in a directory that nobody else can enter. Must be called inside a Tokio
    /// runtime, and by the holder of the lock only: a socket that does not answer is taken to be a
    /// dead daemon's and is removed.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), PlaceError> {
        if path.symlink_metadata().is_ok() {
            if UnixStream::connect(path).is_ok() {
                return Err(PlaceError::Busy { path: path.to_owned() });
            }
            fs::remove_file(path).map_err(failed("remove the stale socket", path))?;
        }
        let listener = UnixListener::bind(path).map_err(failed("bind the socket", path))?;
        let socket = Self { path: path.to_owned() };
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(failed("change the permissions of", path))?;
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    fn open_dir(path: &Path) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_private_directory_is_private_from_birth_or_when_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (new, empty) = (dir.path().join("a/b"), dir.path().join("empty"));
        ensure_private_dir(&new).unwrap();
        ensure_private_dir(&new).unwrap();
        open_dir(&empty);
        ensure_private_dir(&empty).unwrap();
        assert_eq!((mode(&new), mode(&empty)), (0o700, 0o700));
    }

    #[test]
    fn an_open_directory_with_something_in_it_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let full = dir.path().join("full");
        open_dir(&full);
        fs::write(full.join("file"), "").unwrap();
        let error = ensure_private_dir(&full).unwrap_err();
        assert!(error.to_string().ends_with("is open to other users (mode 755)"), "{error}");
        assert_eq!(mode(&full), 0o755);
    }

    #[test]
    fn a_link_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let error = ensure_private_dir(&link).unwrap_err();
        assert!(matches!(error, PlaceError::NoDirectory { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (socket, _listener) = Socket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let error = Socket::bind(&path).unwrap_err();
        assert!(matches!(error, PlaceError::Busy { .. }), "{error:?}");
        drop(socket);
        assert!(!path.exists());
    }
}
