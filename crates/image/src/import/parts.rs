//! Where the parts of an image lie: in a directory, or in a tar archive that is read in place.

use super::budget::{Budget, Metered};
use super::digest::{Hashing, Sha256Digest};
use super::entries::{Entries, Kind, Needs};
use super::error::{ImportError, TarError};
use banger_core::unit::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

/// A manifest or a configuration has some KiB.
const MAX_DOCUMENT: Bytes = Bytes(8 << 20);
/// How often one name may stand for another, in archives of older versions of Docker.
const MAX_LINKS: usize = 8;
const BLOCK: u64 = 512;

/// The parts of an image, by their names.
#[derive(Debug)]
pub(super) enum Parts {
    Directory(OwnedFd),
    Archive { file: File, index: Index },
}

/// Where each part of an archive lies.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<PathBuf, Slot>);

#[derive(Debug, Clone)]
enum Slot {
    Section { at: u64, length: u64 },
    Link(PathBuf),
}

/// A part that is being read.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    at: u64,
    left: u64,
}

impl Parts {
    /// The parts in a directory.
    pub(super) fn in_directory(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::Directory(open(path, flags, Mode::empty())?))
    }

    /// The parts in an archive that is not compressed.
    pub(super) fn in_archive(
        archive: &str,
        file: File,
        budget: &Budget<'_>,
    ) -> Result<Self, ImportError> {
        let index = Index::read(&file, budget).map_err(|error| budget.failed(error, archive))?;
        Ok(Self::Archive { file, index })
    }

    /// Whether there is a part of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }

    /// Opens a part.
    pub(super) fn open(&self, name: &str) -> Result<Part, ImportError> {
        let missing = || ImportError::NoPart { part: name.to_owned() };
        match self {
            Self::Directory(directory) => {
                // Not out of the directory, whatever links are in it.
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = match openat2(directory, name, flags, Mode::empty(), resolve) {
                    Ok(file) => File::from(file),
                    Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
                    Err(errno) => return Err(unread(name)(errno.into())),
                };
                let found = file.metadata().map_err(unread(name))?;
                if !found.is_file() {
                    return Err(missing());
                }
                Ok(Part { file, at: 0, left: found.len() })
            }
            Self::Archive { file, index } => {
                let (at, left) = index.find(Path::new(name)).ok_or_else(missing)?;
                let file = file.try_clone().map_err(unread(name))?;
                Ok(Part { file, at, left })
            }
        }
    }

    /// Reads a document and checks its digest, where one was announced. Returns the digest that it has.
    pub(super) fn document<T: DeserializeOwned>(
        &self,
        name: &str,
        wanted: Option<(&Sha256Digest, u64)>,
    ) -> Result<(T, Sha256Digest), ImportError> {
        let mut part = self.open(name)?;
        if let Some((_, size)) = wanted {
            part.check_size(size, name)?;
        }
        if part.left > MAX_DOCUMENT.0 {
            return Err(ImportError::DocumentSize {
                document: name.to_owned(),
                limit: MAX_DOCUMENT,
            });
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(unread(name))?;
        let found = Sha256Digest::of(&bytes);
        if let Some((digest, _)) = wanted {
            digest.check(&found, name)?;
        }
        let document = serde_json::from_slice(&bytes)
            .map_err(|source| ImportError::Document { document: name.to_owned(), source })?;
        Ok((document, found))
    }
}

fn unread(name: &str) -> impl FnOnce(io::Error) -> ImportError {
    ImportError::io("read", Path::new(name))
}

impl Part {
    /// Checks its length before anything of it is read.
    pub(super) fn check_size(&self, wanted: u64, part: &str) -> Result<(), ImportError> {
        if self.left == wanted {
            return Ok(());
        }
        Err(ImportError::Size { part: part.to_owned(), wanted, found: self.left })
    }

    /// Lets its digest be taken.
    pub(super) fn hashing(self) -> Hashing<Self> {
        Hashing::new(self)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.file.read_at(&mut buffer[..most], self.at)?;
        if length == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = u64::try_from(length).unwrap_or(u64::MAX);
        self.at += read;
        self.left -= read;
        Ok(length)
    }
}

impl Index {
    /// Notes where everything lies. Content is passed over, not read.
    fn read(file: &File, budget: &Budget<'_>) -> Result<Self, TarError> {
        let length = file.metadata().map_err(TarError::Read)?.len();
        let stopped = |stop| TarError::Read(io::Error::other(stop));
        let mut slots = HashMap::new();
        let mut at = 0;
        loop {
            let section =
                Part { file: file.try_clone().map_err(TarError::Read)?, at, left: length - at };
            let mut entries = Entries::new(Metered::new(section, budget), Needs::Meta);
            let Some(entry) = entries.next()? else { return Ok(Self(slots)) };
            budget.take_entries(1).map_err(stopped)?;
            let content = entries.into_reader().into_inner().at;
            let size = entry.map.regions.iter().map(|region| region.length).sum::<u64>();
            let end = content.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK));
            at = end.filter(|&end| end <= length).ok_or(TarError::CutOff)?;
            let name = normal(Path::new(""), Path::new(&os(&entry.name)));
            let slot = match entry.kind {
                Kind::File => Some(Slot::Section { at: content, length: size }),
                Kind::Symlink => {
                    let from = name.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
                    normal(from, Path::new(&os(&entry.link))).map(Slot::Link)
                }
                Kind::HardLink => {
                    normal(Path::new(""), Path::new(&os(&entry.link))).map(Slot::Link)
                }
                _ => None,
            };
            if let (Some(name), Some(slot)) = (name, slot) {
                slots.insert(name, slot);
            }
        }
    }

    fn find(&self, name: &Path) -> Option<(u64, u64)> {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.0.get(name)? {
                Slot::Section { at, length } => return Some((*at, *length)),
                Slot::Link(target) => name = target,
            }
        }
        None
    }
}

fn os(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

/// A name of the archive, seen from one of its directories. These names lead to nothing but sections
/// of the archive, so that one that leads out of it is merely not found.
fn normal(from: &Path, name: &Path) -> Option<PathBuf> {
    let mut path = from.to_owned();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
