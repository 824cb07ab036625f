//! The work disk: filled on its first boot from the image's directory that it is mounted over.
//!
//! How far the filling came is an extended attribute on the disk's own root directory, which no
//! user's file can be mistaken for:
//!
//! ```text
//! none, and empty      -> filling -> filled     a new disk
//! none, and not empty  ----------> filled       somebody else's disk: its files are kept
//! filling              -> emptied, filling ...  the first boot was cut off
//! filled               ->                       every later boot
//! ```

use crate::disk::{Disk, DiskError};
use crate::events::DeviceEvents;
use crate::path_error::{On, PathError};
use crate::{tree, watchdog};
use banger_core::guest::WorkDisk;
use rustix::fs::{XattrFlags, getxattr, setxattr, syncfs};
use rustix::io::Errno;
use rustix::mount::mount_move;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The attribute; only root can see or set one in the trusted name space.
const MARK: &str = "trusted.banger.work_disk";
const FILLING: &[u8] = b"filling";
const FILLED: &[u8] = b"filled";
/// What mke2fs puts into every file system.
const LOST_AND_FOUND: &str = "lost+found";
/// Where the disk is mounted while it is filled, in the tmpfs of /run.
const STAGING: &str = "/run/banger-work-disk";

/// Mounts the disk over its directory, filling it first if need be; the value is a warning.
pub(crate) fn mount(disk: &WorkDisk, events: &DeviceEvents) -> Result<Option<String>, DiskError> {
    let target = Path::new(&disk.mount_point);
    let staging = Path::new(STAGING);
    create_private_dir(staging)?;
    create_private_dir(target)?;
    let warning = Disk::find(Path::new(&disk.device), events)?.mount_and_grow(staging)?;
    fill(target, staging)?;
    mount_move(staging, target).on("move the work disk's mount to", target)?;
    fs::remove_dir(staging).on("remove the directory", staging)?;
    Ok(warning)
}

/// Creates a directory for its owner alone, unless it exists.
fn create_private_dir(path: &Path) -> Result<(), PathError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).on("create the directory", path)
}

/// Fills the disk whose root is `disk` from the directory `source`, if that has not been done.
fn fill(source: &Path, disk: &Path) -> Result<(), PathError> {
    match read_mark(disk).on("read the state of the work disk", disk)?.as_deref() {
        Some(FILLING) => empty(disk)?,
        Some(_) => return Ok(()),
        None if is_empty(disk)? => {}
        None => return mark(disk, FILLED),
    }
    mark(disk, FILLING)?;
    let into = |name: &std::ffi::OsStr| disk.join(name);
    let mut copy = tree::Copy::new(watchdog::progress);
    for entry in list(source)? {
        if entry.file_name() != LOST_AND_FOUND {
            copy.entry(&entry.path(), &into(&entry.file_name()))?;
        }
    }
    tree::copy_attributes(source, disk)?;
    mark(disk, FILLED)
}

fn list(dir: &Path) -> Result<Vec<fs::DirEntry>, PathError> {
    fs::read_dir(dir).and_then(Iterator::collect).on("list", dir)
}

fn is_empty(disk: &Path) -> Result<bool, PathError> {
    Ok(list(disk)?.iter().all(|entry| entry.file_name() == LOST_AND_FOUND))
}

fn empty(disk: &Path) -> Result<(), PathError> {
    for entry in list(disk)? {
        let path = entry.path();
        if entry.file_name() == LOST_AND_FOUND {
            continue;
        }
        let is_dir = entry.file_type().on("inspect", &path)?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.on("remove", &path)?;
        watchdog::progress();
    }
    Ok(())
}

fn read_mark(disk: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0; 32];
    match getxattr(disk, MARK, &mut value[..]) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(Errno::NODATA) => Ok(None),
        // Longer than any mark of ours: of a later banger, then, which has filled it.
        Err(Errno::RANGE) => Ok(Some(Vec::new())),
        Err(error) => Err(error.into()),
    }
}

/// Sets the mark between two flushes: it is on the disk neither before what it speaks of nor after
/// what follows.
fn mark(disk: &Path, value: &[u8]) -> Result<(), PathError> {
    let set = || -> io::Result<()> {
        let root = File::open(disk)?;
        syncfs(&root)?;
        setxattr(disk, MARK, value, XattrFlags::empty())?;
        syncfs(&root)?;
        Ok(())
    };
    set().on("mark the state of the work disk", disk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    // The mark is in the trusted name space, so these tests need root.
    mod host_work_disk {
        use super::*;

        struct Case {
            dir: tempfile::TempDir,
        }

        impl Case {
            fn new() -> Self {
                let case = Self { dir: tempfile::tempdir().unwrap() };
                fs::create_dir_all(case.image().join("project")).unwrap();
                fs::write(case.image().join("project/notes"), "from the image").unwrap();
                fs::set_permissions(case.image(), fs::Permissions::from_mode(0o700)).unwrap();
                fs::create_dir_all(case.disk().join(LOST_AND_FOUND)).unwrap();
                case
            }

            fn image(&self) -> std::path::PathBuf {
                self.dir.path().join("image")
            }

            fn disk(&self) -> std::path::PathBuf {
                self.dir.path().join("disk")
            }

            fn fill(&self) {
                fill(&self.image(), &self.disk()).unwrap();
            }

            fn notes(&self) -> Option<String> {
                fs::read_to_string(self.disk().join("project/notes")).ok()
            }
        }

        #[test]
        fn an_empty_disk_is_filled_and_gets_the_directorys_mode() {
            let case = Case::new();
            case.fill();
            assert_eq!(case.notes().as_deref(), Some("from the image"));
            let mode = fs::metadata(case.disk()).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700);
        }

        #[test]
        fn what_the_user_changed_or_deleted_stays_so() {
            let case = Case::new();
            case.fill();
            fs::remove_dir_all(case.disk().join("project")).unwrap();
            case.fill();
            assert_eq!(case.notes(), None);
        }

        #[test]
        fn a_filling_that_was_cut_off_begins_anew() {
            let case = Case::new();
            mark(&case.disk(), FILLING).unwrap();
            fs::create_dir_all(case.disk().join("project")).unwrap();
            fs::write(case.disk().join("project/notes"), "from the im").unwrap();
            case.fill();
            assert_eq!(case.notes().as_deref(), Some("from the image"));
            assert!(case.disk().join(LOST_AND_FOUND).is_dir());
        }

        #[test]
        fn a_disk_that_has_files_already_is_left_alone() {
            let case = Case::new();
            fs::write(case.disk().join("thesis"), "years of work").unwrap();
            case.fill();
            case.fill();
            assert_eq!(case.notes(), None);
            assert!(case.disk().join("thesis").exists());
        }
    }
}
