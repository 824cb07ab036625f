//! Where a bundle is put together: a directory inside the bundle's, so that finished files are
//! published by renaming.
//!
//! Only one build works in a bundle's directory at a time (a lock on a file, which the kernel lifts
//! when the process ends). What an earlier one left when it was killed is removed by the next.

use super::BuildError;
use super::build::OnPath;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = ".build.lock";
const SCRATCH_DIR: &str = ".build";

/// The scratch directory of one build; it goes when the build does.
#[derive(Debug)]
pub(super) struct Workshop {
    dir: PathBuf,
    scratch: PathBuf,
    _lock: File,
}

impl Workshop {
    /// Takes the lock of a bundle's directory and makes an empty scratch directory in it.
    pub(super) fn open(dir: &Path) -> Result<Self, BuildError> {
        fs::create_dir_all(dir).doing("create the directory", dir)?;
        let dir = dir.canonicalize().doing("resolve the path", dir)?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = File::create(&lock_path).doing("create the file", &lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BuildError::Busy { dir }),
            Err(TryLockError::Error(error)) => {
                return Err(error).doing("lock", &lock_path);
            }
        }
        let scratch = dir.join(SCRATCH_DIR);
        remove_tree(&scratch).doing("remove what an earlier build left in", &scratch)?;
        fs::create_dir(&scratch).doing("create the directory", &scratch)?;
        Ok(Self { dir, scratch, _lock: lock })
    }

    /// The bundle's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the scratch directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Creates a directory in the scratch directory.
    pub(super) fn create_dir(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.path(name);
        fs::create_dir(&path).doing("create the directory", &path)?;
        Ok(path)
    }

    /// Removes a directory that is not needed any longer, so that its content need not reach the disk
    /// before what is published.
    pub(super) fn discard(&self, name: &str) -> Result<(), BuildError> {
        let path = self.path(name);
        remove_tree(&path).doing("remove", &path)
    }

    /// Moves a finished file or directory into the bundle, after its content has reached the disk.
    pub(super) fn publish(&self, name: &str) -> Result<(), BuildError> {
        let from = self.path(name);
        let to = self.dir.join(name);
        let publish = || {
            File::open(&from)?.sync_all()?;
            fs::rename(&from, &to)?;
            File::open(&self.dir)?.sync_all()
        };
        publish().doing("publish", &to)
    }
}

/// What publishing a tree came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It was put in place.
    Changed,
    /// The one that was there is as good.
    Unchanged,
}

impl Workshop {
    /// Moves a finished tree of the scratch directory into the bundle under a name, after its content
    /// has reached the disk, and returns the name. One that has the name already is exchanged for it and
    /// goes with the scratch directory; where the file system cannot exchange, the new one has a number
    /// at its end.
    pub(super) fn publish_tree(&self, tree: &Path, name: &str) -> Result<String, BuildError> {
        let to = self.dir.join(name);
        let published = (|| {
            let scratch = File::open(&self.scratch)?;
            rustix::fs::syncfs(&scratch)?;
            let taken = match rename(tree, &to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => rename(tree, &to, RenameFlags::EXCHANGE),
                other => other,
            };
            let name = match taken {
                Ok(()) => name.to_owned(),
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    let free = self.free_name(name);
                    fs::rename(tree, self.dir.join(&free))?;
                    free
                }
                Err(error) => return Err(error.into()),
            };
            File::open(&self.dir)?.sync_all()?;
            Ok(name)
        })();
        published.doing("publish", &to)
    }

    fn free_name(&self, name: &str) -> String {
        let numbered = (2u32..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(|name| !self.dir.join(name).exists()).expect("a directory holds fewer names")
    }
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> rustix::io::Result<()> {
    renameat_with(CWD, from, CWD, to, flags)
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.scratch) {
            // The next build removes it.
            let scratch = self.scratch.display();
            tracing::warn!(%scratch, %error, "the build's scratch directory stays");
        }
    }
}

/// Removes a tree, if it is there, and nothing that is mounted in it: a bootstrap that was killed may
/// have left the host's own file systems there.
fn remove_tree(root: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if has_mount(root, found.dev())? {
        let text = format!("something is mounted in `{}`", root.display());
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    fs::remove_dir_all(root)
}

fn has_mount(dir: &Path, device: u64) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A directory only: a file cannot hold the host's files.
        if entry.file_type()?.is_dir()
            && (entry.metadata()?.dev() != device || has_mount(&entry.path(), device)?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_build_in_the_same_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Workshop::open(dir.path()).unwrap();
        assert!(matches!(Workshop::open(dir.path()), Err(BuildError::Busy { .. })));
        drop(first);
        Workshop::open(dir.path()).unwrap();
    }

    #[test]
    fn nothing_of_a_build_stays_but_what_was_published() {
        let dir = tempfile::tempdir().unwrap();
        let workshop = Workshop::open(dir.path()).unwrap();
        fs::write(workshop.path("vmlinux"), "kernel").unwrap();
        fs::write(workshop.path("rootfs"), "half").unwrap();
        workshop.publish("vmlinux").unwrap();
        drop(workshop);
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [LOCK_FILE, "vmlinux"]);
    }

    #[test]
    fn what_a_killed_build_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(SCRATCH_DIR).join("rootfs/etc")).unwrap();
        let workshop = Workshop::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(workshop.path(".")).unwrap().count(), 0);
    }

    // It mounts, in a mount name space of its own.
    mod host_mounts {
        use super::*;

        #[test]
        fn a_scratch_directory_with_a_mount_in_it_is_not_removed() {
            use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
            use rustix::thread::{UnshareFlags, unshare_unsafe};

            let dir = tempfile::tempdir().unwrap();
            let mounted = dir.path().join(SCRATCH_DIR).join("root/dev");
            fs::create_dir_all(&mounted).unwrap();
            isolate();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            mount("tmpfs", &mounted, "tmpfs", MountFlags::empty(), None).unwrap();
            fs::write(mounted.join("null"), "").unwrap();

            let error = Workshop::open(dir.path()).unwrap_err();
            assert!(matches!(error, BuildError::Io { .. }), "{error}");
            assert!(mounted.join("null").exists());
            rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::empty()).unwrap();

            #[expect(
                unsafe_code,
                reason = "rustix marks unshare as unsafe for its effect on files"
            )]
            fn isolate() {
                // SAFETY: no file descriptor table is unshared, only this thread's mounts.
                unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
            }
        }
    }
}
