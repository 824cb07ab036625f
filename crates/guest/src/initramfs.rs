//! The memory that the initrd occupies, and giving it back.

use crate::path_error::{On, PathError};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, fstatfs, openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// `RAMFS_MAGIC` and `TMPFS_MAGIC` of linux/magic.h: the kernel unpacks an initrd into either.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x8584_58f6, 0x0102_1994];

/// The root directory as the kernel unpacked it.
#[derive(Debug)]
pub(crate) struct Initramfs {
    root: OwnedFd,
}

impl Initramfs {
    /// Holds on to the current root directory, before another one is moved over it.
    pub(crate) fn open() -> Result<Self, PathError> {
        let root = open_dir(CWD, c"/").on("open", Path::new("/"))?;
        Ok(Self { root })
    }

    /// Deletes every file in it. A root that is not in memory is left alone.
    pub(crate) fn free(self) -> Result<(), PathError> {
        let free = || {
            if MEMORY_FILE_SYSTEMS.contains(&fstatfs(&self.root)?.f_type) {
                empty(self.root.as_fd(), fstat(&self.root)?.st_dev)?;
            }
            Ok::<(), Errno>(())
        };
        free().on("free the memory of", Path::new("/ (initrd)"))
    }
}

fn open_dir(at: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// Deletes what is in a directory and on the device `dev`: whatever is mounted below is not ours.
fn empty(dir: BorrowedFd<'_>, dev: u64) -> Result<(), Errno> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != dev {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            empty(open_dir(dir, name)?.as_fd(), dev)?;
            match unlinkat(dir, name, AtFlags::REMOVEDIR) {
                // Something is mounted there, or in it.
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                other => other?,
            }
        } else {
            unlinkat(dir, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn everything_in_the_directory_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("a/link")).unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        empty(root.as_fd(), fstat(&root).unwrap().st_dev).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Path::new("/etc").exists());
    }

    #[test]
    fn what_is_on_another_device_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kept"), "x").unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        empty(root.as_fd(), fstat(&root).unwrap().st_dev + 1).unwrap();
        assert!(dir.path().join("kept").exists());
    }
}
