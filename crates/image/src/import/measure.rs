//! How much a tree holds, and whether all of it may become a root file system.
//!
//! A directory that a user names is not copied: it is looked at here, and read once more when the file
//! system is written.

use super::budget::{Budget, Stop};
use super::entries::Kind;
use super::error::ImportError;
use super::name::TreePath;
use super::policy;
use banger_core::unit::{Bytes, MiB};
use rustix::fs::{SeekFrom, major, minor, seek};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The block of ext4 on x86-64.
const BLOCK: u64 = 4096;
/// The inode that mke2fs makes.
const INODE: u64 = 256;
/// The journal of a file system of up to 16 GiB, and the rest of what ext4 keeps for itself.
const JOURNAL: u64 = 128 << 20;
/// What is free in an image at least, in bytes. A VM's root disk is larger than its image, and grows
/// at its first boot.
const MIN_FREE: u64 = 256 << 20;
/// mke2fs has one inode for this many bytes, unless more are needed (`inode_ratio`, mke2fs.conf(5)).
const BYTES_PER_INODE: u64 = 16384;

/// What a tree holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// In whole blocks; files with several names once, holes not.
    pub(super) bytes: Bytes,
    /// Files, directories and all else.
    pub(super) entries: u64,
}

impl Content {
    /// The number of inodes for a file system of this size.
    pub(super) fn inodes(self, size: MiB) -> u64 {
        (size.bytes().0 / BYTES_PER_INODE).max(self.entries + self.entries / 4 + 1024)
    }

    /// A size with room to work in.
    pub(super) fn roomy(self) -> MiB {
        let needed = self.needed().saturating_add((self.bytes.0 / 4).max(MIN_FREE));
        in_mebibytes(needed)
    }

    /// The least that holds it.
    pub(super) fn least(self) -> MiB {
        in_mebibytes(self.needed())
    }

    /// Content, inodes, journal, and a fiftieth for the maps of large files and free blocks.
    fn needed(self) -> u64 {
        let inodes = (self.entries + self.entries / 4 + 1024).saturating_mul(INODE);
        let content = self.bytes.0.saturating_add(self.bytes.0 / 50);
        content.saturating_add(inodes).saturating_add(JOURNAL)
    }
}

fn in_mebibytes(bytes: u64) -> MiB {
    let mebibytes = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
    MiB::new(mebibytes.max(1)).expect("it is at least one")
}

/// Which files are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The tree was made by an unpack, which refused what must be refused.
    Unpacked,
    /// Anybody made it.
    Foreign,
}

/// Looks at everything in a tree.
///
/// # Errors
///
/// When a part cannot be read; for a foreign tree also when another file system is mounted in it, a
/// device is refused, or it is larger than the limits.
pub(super) fn measure(
    root: &Path,
    trust: Trust,
    budget: &Budget<'_>,
) -> Result<Content, ImportError> {
    let device = fs::metadata(root).map_err(ImportError::io("inspect", root))?.dev();
    let mut survey =
        Survey { root, trust, budget, device, content: Content::default(), seen: HashSet::new() };
    survey.directory(root)?;
    Ok(survey.content)
}

struct Survey<'a> {
    root: &'a Path,
    trust: Trust,
    budget: &'a Budget<'a>,
    device: u64,
    content: Content,
    /// Files with several names.
    seen: HashSet<u64>,
}

impl Survey<'_> {
    fn directory(&mut self, dir: &Path) -> Result<(), ImportError> {
        for entry in fs::read_dir(dir).map_err(ImportError::io("list", dir))? {
            let entry = entry.map_err(ImportError::io("list", dir))?;
            let path = entry.path();
            let found = entry.metadata().map_err(ImportError::io("inspect", &path))?;
            self.check(&path, &found)?;
            self.count(&path, &found)?;
            if found.is_dir() {
                self.directory(&path)?;
            }
        }
        Ok(())
    }

    fn check(&self, path: &Path, found: &Metadata) -> Result<(), ImportError> {
        self.budget.check().map_err(|stop| self.stopped(stop))?;
        if self.trust == Trust::Unpacked {
            return Ok(());
        }
        self.budget.take_entries(1).map_err(|stop| self.stopped(stop))?;
        if found.dev() != self.device {
            return Err(ImportError::Mount { path: path.to_owned() });
        }
        let entry = path.strip_prefix(self.root).unwrap_or(path);
        let judged = TreePath::parse(entry.as_os_str().as_bytes())
            .and_then(|name| policy::judge_device(&name, kind(found)));
        judged.map(drop).map_err(|source| ImportError::Entry {
            archive: self.archive(),
            entry: entry.display().to_string(),
            source,
        })
    }

    fn count(&mut self, path: &Path, found: &Metadata) -> Result<(), ImportError> {
        if found.nlink() > 1 && !found.is_dir() && !self.seen.insert(found.ino()) {
            return Ok(());
        }
        self.content.entries += 1;
        let bytes = match found.is_file() && found.blocks() * 512 < found.len() {
            true => data_in(path).map_err(ImportError::io("read", path))?,
            // The short target of a link is in its inode.
            false if found.is_symlink() && found.len() < 60 => 0,
            false if found.is_file() || found.is_dir() || found.is_symlink() => found.len(),
            false => 0,
        };
        if self.trust == Trust::Foreign {
            self.budget.take_bytes(bytes).map_err(|stop| self.stopped(stop))?;
        }
        self.content.bytes.0 += bytes.next_multiple_of(BLOCK);
        Ok(())
    }

    fn stopped(&self, stop: Stop) -> ImportError {
        self.budget.stopped(stop, &self.archive())
    }

    /// What the tree is called in errors.
    fn archive(&self) -> String {
        self.root.display().to_string()
    }
}

fn kind(found: &Metadata) -> Kind {
    let kind = found.file_type();
    let (major, minor) = (major(found.rdev()), minor(found.rdev()));
    if kind.is_char_device() {
        Kind::CharDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else {
        Kind::File
    }
}

/// The bytes of a sparse file that are not holes.
fn data_in(path: &Path) -> std::io::Result<u64> {
    let file = File::open(path)?;
    let (mut at, mut data) = (0, 0_u64);
    loop {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data at or after the offset (lseek(2)).
            Err(Errno::NXIO) => return Ok(data),
            Err(errno) => return Err(errno.into()),
        };
        at = seek(&file, SeekFrom::Hole(start))?;
        data += at - start;
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Limits;
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::AtomicBool;

    fn measured(dir: &Path, limits: Limits) -> Result<Content, ImportError> {
        measure(dir, Trust::Foreign, &Budget::new(limits, &AtomicBool::new(false)))
    }

    #[test]
    fn holes_and_second_names_are_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 5000]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let sparse = File::create(dir.path().join("c")).unwrap();
        sparse.write_all_at(b"otter", 1 << 30).unwrap();
        let content = measured(dir.path(), Limits::default()).unwrap();
        assert_eq!(content.entries, 2);
        assert!((8192 + 4096..1 << 20).contains(&content.bytes.0), "{content:?}");
    }

    #[test]
    fn a_directory_has_limits_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 5000]).unwrap();
        fs::write(dir.path().join("b"), vec![1; 5000]).unwrap();
        let limits = Limits { bytes: Bytes(9000), ..Limits::default() };
        assert!(matches!(measured(dir.path(), limits), Err(ImportError::TooLarge { .. })));
        let limits = Limits { entries: 1, ..Limits::default() };
        assert!(matches!(measured(dir.path(), limits), Err(ImportError::TooMany { .. })));
    }

    #[test]
    fn there_are_inodes_for_many_small_files_and_room_for_the_content() {
        let content = Content { bytes: Bytes(100 << 20), entries: 1_000_000 };
        assert!(content.inodes(MiB::of(512)) > 1_250_000);
        assert!(content.least().get() > 100 + 128 + 300, "{content:?}");
        assert!(content.roomy() > content.least());
        let small = Content { bytes: Bytes(0), entries: 10 };
        assert_eq!(small.inodes(MiB::of(1024)), 65536);
    }
}
