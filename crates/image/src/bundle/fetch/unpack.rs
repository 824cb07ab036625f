//! Unpacking a tar archive that nobody vouches for into a directory of its own.
//!
//! Only files, directories and links that stay inside are taken; owners, modes but the executable bit,
//! times and attributes are not. Links are made last, so that nothing is ever written through one.

use crate::bundle::manifest::FileRecord;
use crate::checksum::Summing;
use rustix::fs::{OFlags, statvfs};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// The most that the files of a bundle may measure together, holes included, in bytes.
const MAX_BYTES: u64 = 64 << 30;
/// The most entries of an archive. A kernel's module tree has some thousand files.
const MAX_ENTRIES: usize = 100_000;
/// So much room is left on the file system, in bytes.
const LEAVE_ROOM: u64 = 256 << 20;
/// After so many bytes the room is looked at, in bytes.
const LOOK_AFTER: u64 = 64 << 20;
/// A hole is at least so long, in bytes.
const BLOCK: usize = 1 << 16;

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// It could not be read on.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
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
    let mut archive = Archive::new(archive);
    let mut unpacking =
        Unpacking { into, bytes: 0, since_look: 0, records: BTreeMap::new(), links: Vec::new() };
    for (number, entry) in archive.entries().map_err(UnpackError::Read)?.enumerate() {
        if number == MAX_ENTRIES {
            return Err(UnpackError::TooLarge { limit: format!("{MAX_ENTRIES} entries") });
        }
        let entry = entry.map_err(|error| match number {
            // The crate's own words quote what it found.
            0 if error.kind() == io::ErrorKind::Other => UnpackError::NoTar,
            _ => UnpackError::Read(error),
        })?;
        unpacking.entry(entry)?;
    }
    unpacking.make_links()?;
    Ok(unpacking.records)
}

struct Unpacking<'a> {
    into: &'a Path,
    bytes: u64,
    since_look: u64,
    records: BTreeMap<String, FileRecord>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |reason| UnpackError::Entry { name: name.clone(), reason };
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = inside(&entry.path_bytes()).map_err(refuse)?;
        let is_pax_sparse =
            entry.pax_extensions().map_err(UnpackError::Read)?.is_some_and(|mut pax| {
                pax.any(|one| one.is_ok_and(|one| one.key_bytes().starts_with(b"GNU.sparse.")))
            });
        if is_pax_sparse {
            return Err(refuse("has holes in a way that is not known; use `tar --format=gnu`"));
        }
        match kind {
            EntryType::Directory => self.directory(&path),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let Some(path) = path else { return Err(refuse("has no name")) };
                self.file(&path, &name, &mut entry)
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(UnpackError::Read)?;
                let target = target.ok_or_else(|| refuse("is a link to nothing"))?.into_owned();
                let Some(path) = path else { return Err(refuse("has no name")) };
                if target.is_absolute() {
                    return Err(refuse("is a link that leads out of the bundle"));
                }
                self.links.push((path, target));
                Ok(())
            }
            EntryType::Link => Err(refuse("is a hard link, which a bundle does not need")),
            EntryType::Block | EntryType::Char | EntryType::Fifo => {
                Err(refuse("is a device or pipe, which a bundle has none of"))
            }
            _ => Err(refuse("is of a kind that is not known")),
        }
    }

    fn directory(&self, path: &Option<PathBuf>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        let path = self.into.join(path);
        fs::create_dir_all(&path).map_err(|source| UnpackError::Write { path, source })
    }

    fn file(&mut self, path: &Path, name: &str, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > MAX_BYTES {
            return Err(UnpackError::TooLarge { limit: format!("{} GiB", MAX_BYTES >> 30) });
        }
        let full = self.into.join(path);
        let write = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => {
                UnpackError::Entry { name: name.to_owned(), reason: "is there twice" }
            }
            _ => UnpackError::Write { path: full.clone(), source },
        };
        fs::create_dir_all(full.parent().unwrap_or(self.into)).map_err(write)?;
        let mode =
            if entry.header().mode().unwrap_or_default() & 0o100 == 0 { 0o644 } else { 0o755 };
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(nofollow)
            .open(&full)
            .map_err(write)?;
        let record = self.copy(entry, &mut file, &full)?;
        self.records.insert(path.to_string_lossy().into_owned(), record);
        Ok(())
    }

    /// Copies a file's content; where it is nothing but zeros the file has a hole.
    fn copy(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        file: &mut File,
        path: &Path,
    ) -> Result<FileRecord> {
        let write = |source| UnpackError::Write { path: path.to_owned(), source };
        let mut summing = Summing::default();
        let mut block = vec![0; BLOCK];
        let mut bytes = 0;
        loop {
            let length = fill(entry, &mut block).map_err(UnpackError::Read)?;
            let content = &block[..length];
            let count = u64::try_from(length).unwrap_or_default();
            if length == 0 {
                break;
            }
            summing.add(content);
            bytes += count;
            if content.iter().all(|byte| *byte == 0) {
                file.seek(SeekFrom::Current(i64::try_from(length).unwrap_or_default()))
                    .map_err(write)?;
            } else {
                self.look_at_room(count)?;
                file.write_all(content).map_err(write)?;
            }
        }
        file.set_len(bytes).map_err(write)?;
        if bytes < entry.size() {
            let text = "it ends in the middle of a file";
            return Err(UnpackError::Read(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        Ok(FileRecord { bytes, sha256: Some(summing.finish()) })
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

/// Reads until the block is full or the source is at its end.
fn fill(source: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The path of an entry below the directory; `None` for the directory itself.
fn inside(name: &[u8]) -> std::result::Result<Option<PathBuf>, &'static str> {
    let name = std::str::from_utf8(name).ok().ok_or("has a name that is no text")?;
    if name.contains('\0') {
        return Err("has a name that is no text");
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir => return Err("has an absolute path"),
            Component::ParentDir | Component::Prefix(_) => return Err("leads out of the bundle"),
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}
