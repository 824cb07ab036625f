//! Looking at a file system that nobody has mounted, without writing to it.

use banger_core::error::{ErrorCode, Explain};
use banger_host::cmd::{Cmd, CmdError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// For 128 GiB on a slow disk.
const LIMIT: Duration = Duration::from_secs(1800);
/// Where the superblock begins, and two of its fields (Linux, fs/ext4/ext4.h).
const SUPERBLOCK: u64 = 0x400;
const STATE: usize = 0x3a;
const INCOMPATIBLE: usize = 0x60;
/// `EXT4_VALID_FS` and `EXT4_ERROR_FS` of the state.
const VALID: u8 = 1;
const ERROR: u8 = 2;
/// `EXT4_FEATURE_INCOMPAT_RECOVER`: the journal has to be replayed.
const RECOVER: u8 = 4;

/// A file system that cannot be taken for a sound one.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// Its superblock cannot be read.
    #[error("could not read the file system in `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Whoever had it mounted did not end in good order.
    #[error("the file system in `{}` was not unmounted", .path.display())]
    NotUnmounted {
        /// The file.
        path: PathBuf,
    },
    /// e2fsck finds fault with it.
    #[error("the file system in `{}` has errors", .path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What it says.
        #[source]
        source: CmdError,
    },
}

impl Explain for FsckError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unsound { source: source @ CmdError::NotFound { .. }, .. } => source.code(),
            _ => ErrorCode::ImageUnusable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unsound { source, .. } => source.hints(),
            Self::NotUnmounted { .. } => {
                vec!["the guest was killed, or its init does not unmount the root".to_owned()]
            }
            Self::Read { .. } => Vec::new(),
        }
    }
}

/// Checks an ext4 file system in a file, writing nothing.
///
/// # Errors
///
/// When it was not unmounted, or `e2fsck` finds errors.
pub fn check(path: &Path, cancel: &AtomicBool) -> Result<(), FsckError> {
    let mut superblock = [0; 0x400];
    let read = File::open(path).and_then(|f| f.read_exact_at(&mut superblock, SUPERBLOCK));
    read.map_err(|source| FsckError::Read { path: path.to_owned(), source })?;
    if !was_unmounted(&superblock) {
        return Err(FsckError::NotUnmounted { path: path.to_owned() });
    }
    let run = Cmd::new("e2fsck").args(["-f", "-n"]).arg(path).timeout(LIMIT);
    let checked = run.run_cancellable(cancel).map(drop);
    checked.map_err(|source| FsckError::Unsound { path: path.to_owned(), source })
}

/// With `-n` e2fsck leaves a journal alone, and so says nothing of what is in it.
fn was_unmounted(superblock: &[u8]) -> bool {
    let (state, features) = (superblock[STATE], superblock[INCOMPATIBLE]);
    state & VALID != 0 && state & ERROR == 0 && features & RECOVER == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    fn file_system() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let make = Cmd::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(file.path()).arg("8M");
        make.run().unwrap();
        file
    }

    fn poke(path: &Path, offset: u64, change: impl Fn(u8) -> u8) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[change(byte[0])], offset).unwrap();
    }

    fn checked(path: &Path) -> Result<(), FsckError> {
        check(path, &AtomicBool::new(false))
    }

    #[test]
    fn a_new_file_system_is_sound_and_stays_as_it_is() {
        let file = file_system();
        let before = std::fs::read(file.path()).unwrap();
        checked(file.path()).unwrap();
        assert!(before == std::fs::read(file.path()).unwrap());
    }

    #[test]
    fn one_that_was_not_unmounted_is_seen() {
        let file = file_system();
        poke(file.path(), SUPERBLOCK + INCOMPATIBLE as u64, |byte| byte | RECOVER);
        assert!(matches!(checked(file.path()), Err(FsckError::NotUnmounted { .. })));
        let file = file_system();
        poke(file.path(), SUPERBLOCK + STATE as u64, |byte| byte & !VALID);
        assert!(matches!(checked(file.path()), Err(FsckError::NotUnmounted { .. })));
    }

    #[test]
    fn one_that_is_damaged_is_seen() {
        let file = file_system();
        // s_free_blocks_count_lo and its neighbours: 0x0c into the superblock.
        poke(file.path(), SUPERBLOCK + 0x0c, |byte| byte ^ 0xff);
        let error = checked(file.path()).unwrap_err();
        assert!(matches!(error, FsckError::Unsound { .. }), "{error:?}");
        let missing = checked(Path::new("/no/such/file")).unwrap_err();
        assert!(matches!(missing, FsckError::Read { .. }), "{missing:?}");
    }
}
