//! Copying a directory tree with everything that a tree has: owners, modes, times, symbolic links,
//! hard links, extended attributes, device nodes and pipes. Sockets are left out: nobody listens.

use crate::path_error::{On, PathError};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, lgetxattr_query,
    llistxattr, llistxattr_query, lsetxattr, mknodat, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// A copy in progress. It remembers files with several names, to give the copy the same names.
pub(crate) struct Copy<F> {
    progress: F,
    copied: HashMap<(u64, u64), PathBuf>,
}

impl<F: Fn()> Copy<F> {
    /// `progress` is called after each entry.
    pub(crate) fn new(progress: F) -> Self {
        Self { progress, copied: HashMap::new() }
    }

    /// Copies one entry, and what is below it, to a path that does not exist.
    pub(crate) fn entry(&mut self, from: &Path, to: &Path) -> Result<(), PathError> {
        let metadata = fs::symlink_metadata(from).on("inspect", from)?;
        if metadata.is_dir() {
            fs::create_dir(to).on("create the directory", to)?;
            for child in fs::read_dir(from).on("list", from)? {
                let name = child.on("list", from)?.file_name();
                self.entry(&from.join(&name), &to.join(&name))?;
            }
        } else if let Some(first) = self.first_name(&metadata, to) {
            return fs::hard_link(first, to).on("link", to);
        } else if !create(from, &metadata, to)? {
            return Ok(());
        }
        // Last of all: what is created in a directory changes its times.
        copy_attributes(from, to)?;
        (self.progress)();
        Ok(())
    }

    /// The copy's earlier name of a file that has several.
    fn first_name(&mut self, metadata: &Metadata, to: &Path) -> Option<PathBuf> {
        if metadata.nlink() < 2 {
            return None;
        }
        let file = (metadata.dev(), metadata.ino());
        let first = self.copied.get(&file).cloned();
        if first.is_none() {
            self.copied.insert(file, to.to_owned());
        }
        first
    }
}

/// Creates what is no directory, without its attributes; false if it is nothing to copy.
fn create(from: &Path, metadata: &Metadata, to: &Path) -> Result<bool, PathError> {
    match FileType::from_raw_mode(metadata.mode()) {
        FileType::RegularFile => {
            fs::copy(from, to).on("copy", from)?;
        }
        FileType::Symlink => {
            let target = fs::read_link(from).on("read the link", from)?;
            symlink(target, to).on("create the link", to)?;
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            let mode = Mode::from_raw_mode(metadata.mode());
            mknodat(CWD, to, kind, mode, metadata.rdev()).on("create the node", to)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Gives `to` the owner, mode, extended attributes and times of `from`; links are not followed.
pub(crate) fn copy_attributes(from: &Path, to: &Path) -> Result<(), PathError> {
    let metadata = fs::symlink_metadata(from).on("inspect", from)?;
    // The owner first: a change of owner clears the set-user-id bit and file capabilities.
    lchown(to, Some(metadata.uid()), Some(metadata.gid())).on("set the owner of", to)?;
    if !metadata.is_symlink() {
        let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
        fs::set_permissions(to, mode).on("set the mode of", to)?;
    }
    copy_xattrs(from, to).on("copy the extended attributes to", to)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() },
        last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() },
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).on("set the times of", to)
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0; llistxattr_query(from)?];
    let length = llistxattr(from, &mut names[..])?;
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        let mut value = vec![0; lgetxattr_query(from, name)?];
        let length = lgetxattr(from, name, &mut value[..])?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // The kernel or the file system does not have this kind, as of a security module.
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkfifoat;
    use std::os::unix::fs::FileTypeExt;

    fn copied(fill: impl Fn(&Path)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        fill(&from);
        Copy::new(|| ()).entry(&from, &dir.path().join("to")).unwrap();
        dir
    }

    #[test]
    fn modes_times_and_links_survive() {
        let dir = copied(|from| {
            fs::write(from.join("tool"), "#!/bin/true\n").unwrap();
            fs::set_permissions(from.join("tool"), fs::Permissions::from_mode(0o4751)).unwrap();
            symlink("/nowhere", from.join("link")).unwrap();
            fs::hard_link(from.join("tool"), from.join("alias")).unwrap();
            let old = Timespec { tv_sec: 1_000_000, tv_nsec: 5 };
            let times = Timestamps { last_access: old, last_modification: old };
            for name in ["tool", "link", "."] {
                utimensat(CWD, from.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            }
        });
        let to = dir.path().join("to");
        let tool = fs::metadata(to.join("tool")).unwrap();
        assert_eq!(tool.mode() & 0o7777, 0o4751);
        assert_eq!((tool.mtime(), tool.mtime_nsec()), (1_000_000, 5));
        assert_eq!(tool.ino(), fs::metadata(to.join("alias")).unwrap().ino());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
        assert_eq!(fs::symlink_metadata(to.join("link")).unwrap().mtime(), 1_000_000);
        assert_eq!(fs::metadata(&to).unwrap().mtime(), 1_000_000);
    }

    #[test]
    fn pipes_are_copied_and_sockets_are_not() {
        let dir = copied(|from| {
            mkfifoat(CWD, from.join("pipe"), Mode::RUSR).unwrap();
            drop(std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap());
        });
        let to = dir.path().join("to");
        assert!(fs::metadata(to.join("pipe")).unwrap().file_type().is_fifo());
        assert!(!to.join("socket").exists());
    }

    #[test]
    fn extended_attributes_survive() {
        let dir = copied(|from| {
            fs::write(from.join("file"), "").unwrap();
            let set = setxattr_user(&from.join("file"));
            set.unwrap();
        });
        let mut value = [0; 8];
        let copy = dir.path().join("to/file");
        let length = lgetxattr(copy, "user.colour", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"blue");
    }

    fn setxattr_user(path: &Path) -> rustix::io::Result<()> {
        lsetxattr(path, "user.colour", b"blue", XattrFlags::empty())
    }
}
