//! Unpacking a tar archive that nobody vouches for into a directory of its own.
//!
//! It is read, and its files are made, as those of an import are: with `import::entries` and within
//! `import::tree`. What a bundle has no use for is refused here. Only files, directories and links that
//! stay inside are taken; owners, modes but the executable bit, and attributes are not. Links are
//! made last, so that nothing is ever written through one.

use crate::bundle::manifest::FileRecord;
use crate::checksum::Summing;
use crate::import::entries::{Entries, Entry, Kind, Meta, Needs};
use crate::import::name::TreePath;
use crate::import::sparse::Map;
use crate::import::tree::Tree;
use crate::import::{EntryError, TarError};
use rustix::fs::{Mode, fchmod, statvfs};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// The most that the files of a bundle may measure together, holes included, in bytes.
const MAX_BYTES: u64 = 64 << 30;
/// The most entries of an archive. A kernel's module tree has some thousand files.
const MAX_ENTRIES: usize = 100_000;
/// The longest target of a link, in bytes: PATH_MAX less the byte that ends it (path_resolution(7)).
const MAX_TARGET: usize = 4095;
/// So much room is left on the file system, in bytes.
const LEAVE_ROOM: u64 = 256 << 20;
/// After so many bytes the room is looked at, in bytes.
const LOOK_AFTER: u64 = 64 << 20;
/// So much is read at a time, in bytes; zeros all along become a hole.
const BLOCK: usize = 1 << 16;

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// It could not be read on.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It makes no sense.
    #[error("it is damaged")]
    Damaged(#[source] TarError),
    /// It begins with something else.
    #[error("it is no tar archive")]
    NoTar,
    /// It holds something that does not belong into a bundle.
    #[error("its entry `{name}` {reason}")]
    Entry { name: String, reason: &'static str },
    /// It is larger than anything sensible.
    #[error("it unpacks to more than {limit}")]
    TooLarge { limit: String },
    /// The file system would be full.
    #[error("it does not fit: less than {left} bytes would be left")]
    NoRoom { left: u64 },
    /// A file could not be written.
    #[error("could not write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, UnpackError>;

/// Unpacks into an empty directory; returns the files by their paths in it.
pub(super) fn unpack(archive: impl Read, into: &Path) -> Result<BTreeMap<String, FileRecord>> {
    let write = |source| UnpackError::Write { path: into.to_owned(), source };
    let mut entries = Entries::new(archive, Needs::Content);
    let mut unpacking = Unpacking {
        tree: Tree::open(into).map_err(write)?,
        into,
        block: vec![0; BLOCK],
        bytes: 0,
        since_look: 0,
        records: BTreeMap::new(),
        links: Vec::new(),
    };
    let mut number = 0;
    while let Some(entry) = entries.next().map_err(|error| unread(error, number))? {
        if number == MAX_ENTRIES {
            return Err(UnpackError::TooLarge { limit: format!("{MAX_ENTRIES} entries") });
        }
        number += 1;
        unpacking.entry(&entry, &mut entries)?;
        // A name may imply directories without an entry of their own.
        if unpacking.tree.made() > MAX_ENTRIES as u64 {
            return Err(UnpackError::TooLarge { limit: format!("{MAX_ENTRIES} entries") });
        }
    }
    unpacking.make_links()?;
    Ok(unpacking.records)
}

/// Why the next entry could not be read, or the content of that one.
fn unread(error: TarError, number: usize) -> UnpackError {
    match error {
        TarError::Read(source) => UnpackError::Read(source),
        TarError::CutOff => {
            let text = "it ends in the middle of a file";
            UnpackError::Read(io::Error::new(io::ErrorKind::UnexpectedEof, text))
        }
        TarError::Checksum if number == 0 => UnpackError::NoTar,
        other => UnpackError::Damaged(other),
    }
}

struct Unpacking<'a> {
    tree: Tree,
    into: &'a Path,
    block: Vec<u8>,
    bytes: u64,
    since_look: u64,
    records: BTreeMap<String, FileRecord>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Unpacking<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, entries: &mut Entries<R>) -> Result<()> {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let refuse = |reason| UnpackError::Entry { name: name.clone(), reason };
        if std::str::from_utf8(&entry.name).is_err() {
            return Err(refuse("has a name that is no text"));
        }
        let path = TreePath::parse(&entry.name).map_err(|error| self.refused(error, &name))?;
        let is_root = path.split().is_none();
        match entry.kind {
            Kind::Directory => self.directory(&path, entry, &name),
            Kind::File | Kind::Symlink if is_root => Err(refuse("has no name")),
            Kind::File => self.file(&path, entry, entries, &name),
            Kind::Symlink if entry.link.is_empty() => Err(refuse("is a link to nothing")),
            Kind::Symlink if entry.link.len() > MAX_TARGET => {
                Err(refuse("is a link with a target that no link can have"))
            }
            Kind::Symlink if entry.link.starts_with(b"/") => {
                Err(refuse("is a link that leads out of the bundle"))
            }
            Kind::Symlink => {
                let target = PathBuf::from(OsStr::from_bytes(&entry.link));
                self.links.push((path.as_path().to_owned(), target));
                Ok(())
            }
            Kind::HardLink => Err(refuse("is a hard link, which a bundle does not need")),
            Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                Err(refuse("is a device or pipe, which a bundle has none of"))
            }
            Kind::Unknown(_) => Err(refuse("is of a kind that is not known")),
        }
    }

    /// What an entry is refused for, in the words of a bundle.
    fn refused(&self, error: EntryError, name: &str) -> UnpackError {
        let reason = match error {
            EntryError::Io { source, .. } => {
                return UnpackError::Write { path: self.into.join(name), source };
            }
            EntryError::Climbs => "leads out of the bundle",
            EntryError::Absolute => "has an absolute path",
            EntryError::Name => "has a name that no file can have",
            EntryError::TooDeep { .. } => "lies too deep",
            EntryError::ThroughFile => "lies below a file",
            _ => "cannot be taken",
        };
        UnpackError::Entry { name: name.to_owned(), reason }
    }

    fn directory(&mut self, path: &TreePath, entry: &Entry, name: &str) -> Result<()> {
        if self.into.join(path.as_path()).is_file() {
            return Err(UnpackError::Entry { name: name.to_owned(), reason: "is there twice" });
        }
        let meta = Meta {
            mode: 0o755,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            attributes: BTreeMap::new(),
            ..entry.meta
        };
        self.tree.directory(path, &meta).map_err(|error| self.refused(error, name))
    }

    fn file<R: Read>(
        &mut self,
        path: &TreePath,
        entry: &Entry,
        entries: &mut Entries<R>,
        name: &str,
    ) -> Result<()> {
        self.bytes = self.bytes.saturating_add(entry.map.size);
        if self.bytes > MAX_BYTES {
            return Err(UnpackError::TooLarge { limit: format!("{} GiB", MAX_BYTES >> 30) });
        }
        let full = self.into.join(path.as_path());
        // An import replaces it; there are no links yet that this could follow.
        if full.exists() {
            return Err(UnpackError::Entry { name: name.to_owned(), reason: "is there twice" });
        }
        let file = self.tree.file(path).map_err(|error| self.refused(error, name))?;
        let record = self.copy(&entry.map, entries, &file, &full)?;
        let mode = if entry.meta.mode & 0o100 == 0 { 0o644 } else { 0o755 };
        let moded = fchmod(&file, Mode::from_raw_mode(mode));
        moded.map_err(|error| UnpackError::Write { path: full, source: error.into() })?;
        self.records.insert(path.as_path().to_string_lossy().into_owned(), record);
        Ok(())
    }

    /// Copies a file's content; where it is nothing but zeros the file has a hole.
    fn copy<R: Read>(
        &mut self,
        map: &Map,
        entries: &mut Entries<R>,
        file: &File,
        path: &Path,
    ) -> Result<FileRecord> {
        let write = |source| UnpackError::Write { path: path.to_owned(), source };
        let mut block = std::mem::take(&mut self.block);
        let mut summing = Summing::default();
        let mut at = 0;
        for region in &map.regions {
            add_zeros(&mut summing, region.offset - at);
            at = region.offset;
            let end = region.offset + region.length;
            while at < end {
                let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
                let content = &mut block[..rest.min(BLOCK)];
                entries.read_content(content).map_err(|error| unread(error, 1))?;
                summing.add(content);
                let count = u64::try_from(content.len()).unwrap_or_default();
                if content.iter().any(|byte| *byte != 0) {
                    self.look_at_room(count)?;
                    file.write_all_at(content, at).map_err(write)?;
                }
                at += count;
            }
        }
        self.block = block;
        add_zeros(&mut summing, map.size - at);
        file.set_len(map.size).map_err(write)?;
        Ok(FileRecord { bytes: map.size, sha256: Some(summing.finish()) })
    }

    fn look_at_room(&mut self, count: u64) -> Result<()> {
        self.since_look += count;
        if self.since_look >= LOOK_AFTER {
            self.since_look = 0;
            let room = statvfs(self.into).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
            if room.is_ok_and(|room| room < LEAVE_ROOM) {
                return Err(UnpackError::NoRoom { left: LEAVE_ROOM });
            }
        }
        Ok(())
    }

    /// Makes the links, each of which has to lead to something inside.
    fn make_links(&self) -> Result<()> {
        let root = self.into.canonicalize();
        let root =
            root.map_err(|source| UnpackError::Write { path: self.into.to_owned(), source })?;
        for (path, target) in &self.links {
            let full = root.join(path);
            let write = |source| UnpackError::Write { path: full.clone(), source };
            if path.ancestors().skip(1).any(|above| root.join(above).is_symlink()) {
                let name = path.display().to_string();
                return Err(UnpackError::Entry { name, reason: "lies behind a link" });
            }
            fs::create_dir_all(full.parent().unwrap_or(&root)).map_err(write)?;
            symlink(target, &full).map_err(write)?;
        }
        for (path, _) in &self.links {
            match root.join(path).canonicalize() {
                Ok(leads_to) if leads_to.starts_with(&root) => {}
                Ok(_) => return Err(leads_out(path)),
                Err(_) => {
                    let name = path.display().to_string();
                    return Err(UnpackError::Entry {
                        name,
                        reason: "is a link that leads nowhere",
                    });
                }
            }
        }
        Ok(())
    }
}

fn leads_out(path: &Path) -> UnpackError {
    let name = path.display().to_string();
    UnpackError::Entry { name, reason: "is a link that leads out of the bundle" }
}

/// What a hole adds to a checksum.
fn add_zeros(summing: &mut Summing, mut count: u64) {
    let zeros = [0; 4096];
    while count > 0 {
        let length = usize::try_from(count).unwrap_or(usize::MAX).min(zeros.len());
        summing.add(&zeros[..length]);
        count -= u64::try_from(length).unwrap_or_default();
    }
}
