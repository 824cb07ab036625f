//! One daemon for each state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name of the lock file in the state directory.
pub const LOCK_NAME: &str = "bangerd.lock";

/// The right to serve a state directory, until it is dropped or the process ends. The file stays:
/// unlinking it would let two daemons hold two files of the same name.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("{} for `{}` already", holder(.pid.as_ref()), .state_dir.display())]
    Held {
        /// Its process id, if it has written it yet.
        pid: Option<u32>,
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The file cannot be used.
    #[error("could not lock `{}`", .path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<&u32>) -> String {
    match pid {
        Some(pid) => format!("a daemon runs (pid {pid})"),
        None => "another daemon starts".to_owned(),
    }
}

impl InstanceLock {
    /// Takes the lock without waiting and writes the process id into it.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        let path = state_dir.join(LOCK_NAME);
        let failed = |source| LockError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(failed)?;
                let pid = text.trim().parse().ok();
                return Err(LockError::Held { pid, state_dir: state_dir.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::acquire(dir.path()).unwrap();
        let error = InstanceLock::acquire(dir.path()).unwrap_err();
        let LockError::Held { pid, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*pid, Some(std::process::id()));
        assert!(error.to_string().starts_with("a daemon runs (pid "), "{error}");
        drop(first);
        InstanceLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_pid_that_a_dead_daemon_left_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK_NAME), "4194304 and more\n").unwrap();
        let _lock = InstanceLock::acquire(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(LOCK_NAME)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
