//! Writing a file of the image: only if it differs, and never half.

use crate::path_error::{On, PathError};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was as wanted.
    Unchanged,
    /// It was created or replaced.
    Replaced,
}

/// Makes `path` a regular file of this process's user with the content and mode. A link in its place
/// is replaced, not followed. The directory is created if it is missing.
pub(crate) fn file(path: &Path, content: &[u8], mode: u32) -> Result<Outcome, PathError> {
    if is_as_wanted(path, content, mode) {
        return Ok(Outcome::Unchanged);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).on("create the directory", parent)?;
    }
    // Beside it, so that the rename stays within one file system.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".banger-new");
    let new = path.with_file_name(name);
    // Left by a boot that was cut off; `create_new` would trip over it, or follow it as a link.
    let _absent = fs::remove_file(&new);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        // Else the rename may reach the disk before the content.
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().on("write", path)?;
    Ok(Outcome::Replaced)
}

fn is_as_wanted(path: &Path, content: &[u8], mode: u32) -> bool {
    let user = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_file()
            && found.mode() & 0o7777 == mode
            && found.uid() == user
            && fs::read(path).is_ok_and(|found| found == content)
    })
}

/// Makes `path` a directory that only this process's user can enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), PathError> {
    if !path.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .on("create the directory", path)?;
    }
    let found = fs::metadata(path).on("inspect", path)?;
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    if (found.uid(), found.gid()) != (user, group) {
        chown(path, Some(user), Some(group)).on("set the owner of", path)?;
    }
    if found.mode() & 0o7777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).on("set the mode of", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_that_is_as_wanted_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/hostname");
        assert_eq!(file(&path, b"otter\n", 0o644).unwrap(), Outcome::Replaced);
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(file(&path, b"otter\n", 0o644).unwrap(), Outcome::Unchanged);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(file(&path, b"otter\n", 0o600).unwrap(), Outcome::Replaced);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_link_is_replaced_and_its_target_kept() {
        let dir = tempfile::tempdir().unwrap();
        let [stub, path] = ["stub", "resolv.conf"].map(|name| dir.path().join(name));
        fs::write(&stub, "nameserver 127.0.0.53\n").unwrap();
        symlink(&stub, &path).unwrap();
        file(&path, b"nameserver 172.16.0.1\n", 0o644).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&stub).unwrap(), "nameserver 127.0.0.53\n");
    }

    #[test]
    fn the_leftover_of_a_boot_that_was_cut_off_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hosts.banger-new"), "half a li").unwrap();
        file(&dir.path().join("hosts"), b"whole\n", 0o644).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_directory_loses_what_it_grants_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".ssh");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    }
}
