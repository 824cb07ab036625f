//! Telling what a path holds.
//!
//! Images in archives and archives of root file systems are both tar. Which one it is, the first name
//! says, so that a large root file system is not unpacked twice; an archive that looks like an image
//! is then searched for the documents that make it one.

use super::budget::{Budget, Metered};
use super::entries::{Entries, Needs};
use super::error::{ImportError, TarError};
use super::manifest::{self, Found};
use super::name::TreePath;
use super::parts::Parts;
use super::record::SourceKind;
use crate::artifact;
use crate::compression::{Format, stream};
use crate::regular;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Component, Path};

/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// A source, looked at.
#[derive(Debug)]
pub(super) enum Source {
    /// A directory with a root file system.
    Directory,
    /// An archive of one.
    Tar(File),
    /// An image in its parts.
    Image { kind: SourceKind, parts: Parts, found: Box<Found> },
}

impl Source {
    /// Looks at a path. An image archive that is compressed is unpacked to `spool` first, so that its
    /// parts can be read in any order.
    pub(super) fn open(
        path: &Path,
        spool: &Path,
        budget: &Budget<'_>,
    ) -> Result<Self, ImportError> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImportError::Missing { path: path.to_owned() },
            _ => ImportError::io("inspect", path)(error),
        })?;
        if metadata.is_dir() {
            return Self::in_directory(path);
        }
        if !metadata.is_file() {
            return Err(ImportError::UnknownSource { path: path.to_owned(), found: None });
        }
        let file = regular::open(path).map_err(ImportError::io("open", path))?;
        if !looks_like_an_image(path, &file, budget)? {
            return Ok(Self::Tar(file));
        }
        let name = path.display().to_string();
        let plain = match format_of(&file).map_err(ImportError::io("read", path))? {
            None => file.try_clone().map_err(ImportError::io("read", path))?,
            Some(_) => unpack_to(&name, &file, spool, budget)?,
        };
        let parts = Parts::in_archive(&name, plain, budget)?;
        if parts.has(manifest::LAYOUT_FILE) && parts.has(manifest::INDEX_FILE) {
            let found = Box::new(manifest::find_in_layout(&parts)?);
            return Ok(Self::Image { kind: SourceKind::OciArchive, parts, found });
        }
        if parts.has(manifest::DOCKER_FILE) {
            let found = Box::new(manifest::find_saved(&parts)?);
            return Ok(Self::Image { kind: SourceKind::DockerArchive, parts, found });
        }
        Ok(Self::Tar(file))
    }

    fn in_directory(path: &Path) -> Result<Self, ImportError> {
        let parts = Parts::in_directory(path).map_err(ImportError::io("open", path))?;
        if !parts.has(manifest::LAYOUT_FILE) {
            return Ok(Self::Directory);
        }
        let found = Box::new(manifest::find_in_layout(&parts)?);
        Ok(Self::Image { kind: SourceKind::OciLayout, parts, found })
    }

    pub(super) fn kind(&self) -> SourceKind {
        match self {
            Self::Directory => SourceKind::Directory,
            Self::Tar(_) => SourceKind::Tar,
            Self::Image { kind, .. } => *kind,
        }
    }
}

/// The archive in a file or part, unpacked if it is compressed. What it is told by is read at once.
pub(super) fn unpacked<'a>(
    archive: &str,
    reader: impl Read + 'a,
) -> Result<Box<dyn Read + 'a>, ImportError> {
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    let head = io::BufRead::fill_buf(&mut reader);
    let head = head.map_err(ImportError::io("read", Path::new(archive)))?;
    let Some(format) = Format::of(head) else { return Ok(Box::new(reader)) };
    stream::reader(format, reader)
        .map_err(|source| ImportError::Compression { archive: archive.to_owned(), source })
}

fn format_of(file: &File) -> io::Result<Option<Format>> {
    let mut head = Vec::new();
    rewound(file)?.take(16).read_to_end(&mut head)?;
    Ok(Format::of(&head))
}

/// The same file from its beginning; the position is shared.
pub(super) fn rewound(mut file: &File) -> io::Result<&File> {
    file.rewind()?;
    Ok(file)
}

/// Whether the first name in an archive is one that images have and root file systems have not.
fn looks_like_an_image(path: &Path, file: &File, budget: &Budget<'_>) -> Result<bool, ImportError> {
    let name = path.display().to_string();
    let reader = rewound(file).map_err(ImportError::io("read", path))?;
    let mut entries = Entries::new(Metered::new(unpacked(&name, reader)?, budget), Needs::Meta);
    loop {
        match entries.next() {
            Ok(None) => return Ok(false),
            Ok(Some(entry)) => match TreePath::parse(&entry.name) {
                // The directory that all is in.
                Ok(path) if path.split().is_none() => {}
                Ok(path) => return Ok(is_part_of_an_image(path.as_path())),
                Err(_) => return Ok(false),
            },
            // Nothing that could be an archive. A file that is one has a right first header.
            Err(TarError::Checksum) => return Err(unknown(path)),
            Err(error) => return Err(budget.failed(error, &name)),
        }
    }
}

fn unknown(path: &Path) -> ImportError {
    let found = match artifact::check_rootfs(path) {
        Ok(()) => Some("an ext4 file system"),
        Err(artifact::ArtifactError::Rootfs { found, .. }) => found,
        Err(_) => None,
    };
    ImportError::UnknownSource { path: path.to_owned(), found }
}

/// `blobs`, `index.json`, `oci-layout`, `manifest.json`, `repositories`; and in archives of older
/// versions of Docker 64 digits, alone or with a suffix.
fn is_part_of_an_image(path: &Path) -> bool {
    let Some(Component::Normal(first)) = path.components().next() else { return false };
    let first = first.to_string_lossy();
    let digits = first.trim_end_matches(".json").trim_end_matches(".tar");
    matches!(&*first, "blobs" | "index.json" | "oci-layout" | "manifest.json" | "repositories")
        || (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Unpacks a file.
fn unpack_to(
    archive: &str,
    file: &File,
    spool: &Path,
    budget: &Budget<'_>,
) -> Result<File, ImportError> {
    let from = rewound(file).map_err(ImportError::io("read", Path::new(archive)))?;
    let mut reader = Metered::new(unpacked(archive, from)?, budget);
    let mut plain = File::create_new(spool).map_err(ImportError::io("create", spool))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = reader.read(&mut chunk);
        match read.map_err(|error| budget.failed(TarError::Read(error), archive))? {
            0 => break,
            length => {
                let written = plain.write_all(&chunk[..length]);
                written.map_err(ImportError::io("write", spool))?;
            }
        }
    }
    drop(plain);
    File::open(spool).map_err(ImportError::io("open", spool))
}
