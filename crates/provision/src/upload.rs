//! Files of the host's on their way into a guest, as a tar stream.
//!
//! Everything arrives as root's, with the mode and the time that it has on the host. Links stay
//! links. What is neither file, directory nor link is refused.

use crate::error::UploadError;
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// How much goes into one piece of a stream. Each piece wakes another thread.
const PIECE: usize = 256 << 10;
/// How many pieces wait for the network.
const AHEAD: usize = 4;
/// How much of a file is read at a time.
const CHUNK: usize = 64 << 10;

/// Something on the host that a guest is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One file, which is given this name.
    File {
        /// Where it is on the host.
        path: PathBuf,
        /// What it is called in the guest.
        name: String,
    },
    /// What is in a directory.
    Tree {
        /// Where it is on the host.
        path: PathBuf,
    },
    /// A file with this content.
    Bytes {
        /// What it is called in the guest.
        name: String,
        /// What it holds.
        bytes: Vec<u8>,
        /// Its mode.
        mode: u32,
    },
}

/// A stream that a thread makes while a program in the guest reads it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) pieces: mpsc::Receiver<Result<Vec<u8>, UploadError>>,
}

impl Source {
    /// Begins to read it. What goes wrong is the stream's last piece.
    pub(crate) fn feed(self) -> Feed {
        let (sender, pieces) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let wire = Wire { pieces: sender.clone(), open: Vec::with_capacity(PIECE) };
            if let Err(error) = self.write(wire) {
                // Without a reader nobody has to know.
                drop(sender.blocking_send(Err(error)));
            }
        });
        Feed { pieces }
    }

    fn write(&self, wire: impl Write) -> Result<(), UploadError> {
        let mut archive = Builder::new(wire);
        match self {
            Self::File { path, name } => add(&mut archive, path, Path::new(name))?,
            Self::Tree { path } => add_below(&mut archive, path, Path::new(""))?,
            Self::Bytes { name, bytes, mode } => {
                let mut header = header(EntryType::Regular, *mode, 0);
                header.set_size(bytes.len() as u64);
                archive
                    .append_data(&mut header, name, bytes.as_slice())
                    .map_err(|source| UploadError { path: name.into(), source })?;
            }
        }
        let finish = || archive.into_inner()?.flush();
        finish().map_err(|source| UploadError { path: self.path(), source })
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::File { path, .. } | Self::Tree { path } => path.clone(),
            Self::Bytes { name, .. } => name.into(),
        }
    }
}

fn header(kind: EntryType, mode: u32, modified: i64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o7777);
    header.set_mtime(u64::try_from(modified).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn add(archive: &mut Builder<impl Write>, path: &Path, name: &Path) -> Result<(), UploadError> {
    let failed = |source| UploadError { path: path.to_owned(), source };
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        append(archive, name, &meta, EntryType::Directory, io::empty()).map_err(failed)?;
        return add_below(archive, path, name);
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        let mut header = header(EntryType::Symlink, 0o777, meta.mtime());
        return archive.append_link(&mut header, name, target).map_err(failed);
    }
    if !kind.is_file() {
        return Err(failed(io::Error::other("it is no file, directory or link")));
    }
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let length = meta.len();
    let most = usize::try_from(length).unwrap_or(CHUNK).min(CHUNK);
    // An archive's builder alone would ask for 8 KiB at a time.
    let content = BufReader::with_capacity(most, Exactly::new(file, length));
    append(archive, name, &meta, EntryType::Regular, content).map_err(failed)
}

fn append(
    archive: &mut Builder<impl Write>,
    name: &Path,
    meta: &Metadata,
    kind: EntryType,
    content: impl Read,
) -> io::Result<()> {
    let mut header = header(kind, meta.mode(), meta.mtime());
    if kind == EntryType::Regular {
        header.set_size(meta.len());
    }
    archive.append_data(&mut header, name, content)
}

/// All that is in a directory, in the order of the names.
fn add_below(
    archive: &mut Builder<impl Write>,
    dir: &Path,
    name: &Path,
) -> Result<(), UploadError> {
    let failed = |source| UploadError { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut names: Vec<_> = entries.map_err(failed)?.iter().map(|e| e.file_name()).collect();
    names.sort();
    names.iter().try_for_each(|entry| add(archive, &dir.join(entry), &name.join(entry)))
}

/// A file of which as much is read as its header says, or it is an error: a file that grows or
/// shrinks meanwhile must not spoil what comes after it.
struct Exactly {
    file: File,
    left: u64,
}

impl Exactly {
    fn new(file: File, length: u64) -> Self {
        Self { file, left: length }
    }
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Hands on what is written, piece by piece.
struct Wire {
    pieces: mpsc::Sender<Result<Vec<u8>, UploadError>>,
    open: Vec<u8>,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.open.len());
        self.open.extend_from_slice(&bytes[..count]);
        if self.open.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.open, Vec::with_capacity(PIECE));
        // The receiver is gone when the program has ended or the work was cancelled.
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.pieces.blocking_send(Ok(piece)).map_err(gone)
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
///
/// # Errors
///
/// When it cannot be read.
pub fn digest(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn entries(source: &Source) -> Vec<String> {
        let mut bytes = Vec::new();
        source.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let (mut text, path) = (String::new(), entry.path().unwrap().into_owned());
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                let link = entry.link_name().unwrap();
                let link = link.map(|link| format!(" -> {}", link.display())).unwrap_or_default();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                format!("{:o} {}{link} {text}", header.mode().unwrap(), path.display())
            })
            .collect()
    }

    #[test]
    fn a_tree_arrives_in_order_with_modes_and_links() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::create_dir_all(path("b/deep")).unwrap();
        fs::write(path("b/deep/file"), "content").unwrap();
        fs::set_permissions(path("b/deep/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::set_permissions(path("b"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(path("b/deep"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", path("a")).unwrap();
        let long = "n".repeat(180);
        fs::write(path(&long), "").unwrap();
        fs::set_permissions(path(&long), fs::Permissions::from_mode(0o644)).unwrap();
        let found = entries(&Source::Tree { path: tree.path().to_owned() });
        assert_eq!(
            found,
            [
                "777 a -> /etc/passwd ".to_owned(),
                "700 b ".to_owned(),
                "755 b/deep ".to_owned(),
                "4750 b/deep/file content".to_owned(),
                format!("644 {long} "),
            ]
        );
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_path() {
        let tree = tempfile::tempdir().unwrap();
        let socket = tree.path().join("socket");
        std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let source = Source::Tree { path: tree.path().to_owned() };
        let refused = source.write(io::sink()).unwrap_err();
        assert_eq!(refused.path, socket);
        let refused = Source::File { path: tree.path().join("no"), name: "no".into() };
        assert!(refused.write(io::sink()).is_err());
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "12345").unwrap();
        let mut read = Exactly::new(File::open(&path).unwrap(), 9);
        assert!(read.read_to_end(&mut Vec::new()).is_err());
        let (mut read, mut bytes) = (Exactly::new(File::open(&path).unwrap(), 3), Vec::new());
        read.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"123");
    }

    #[tokio::test]
    async fn a_file_of_many_pieces_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..3 * PIECE + 5).map(|at| at.to_le_bytes()[at % 3]).collect();
        fs::write(&path, &content).unwrap();
        let mut feed = Source::File { path, name: "f".into() }.feed();
        let mut bytes = Vec::new();
        while let Some(piece) = feed.pieces.recv().await {
            bytes.extend(piece.unwrap());
        }
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        entry.read_to_end(&mut found).unwrap();
        assert!(found == content);
    }

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "curl\ngit\n").unwrap();
        assert!(digest(&path).unwrap().starts_with("df574881062cc77e"));
    }
}
