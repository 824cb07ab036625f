//! How an import fails.

use crate::compression::UnpackError;
use banger_core::error::{ErrorCode, Explain};
use banger_core::unit::{Bytes, MiB};
use banger_host::cmd::CmdError;
use std::io;
use std::path::{Path, PathBuf};

/// An import that did not become an image. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An import makes files of other users.
    #[error("importing an image needs root, since the files of a root file system have owners")]
    NotRoot,
    /// There is nothing at the path.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// The source.
        path: PathBuf,
    },
    /// Something that no root file system can be taken from.
    #[error("`{}` is neither a directory, nor an archive, nor an image that can be imported{}", path.display(), found.map_or(String::new(), |found| format!(": it is {found}")))]
    UnknownSource {
        /// The source.
        path: PathBuf,
        /// What it is instead, if that is known.
        found: Option<&'static str>,
    },
    /// An archive is compressed in a way that is not read.
    #[error("`{archive}` cannot be unpacked")]
    Compression {
        /// The archive or layer.
        archive: String,
        /// The format.
        #[source]
        source: UnpackError,
    },
    /// An archive ends before its end.
    #[error("`{archive}` is cut off: it ends before the archive does")]
    CutOff {
        /// The archive or layer.
        archive: String,
    },
    /// An archive cannot be read, or makes no sense.
    #[error("`{archive}` is damaged")]
    Damaged {
        /// The archive or layer.
        archive: String,
        /// What was found.
        #[source]
        source: TarError,
    },
    /// An archive has an entry that is refused.
    #[error("`{archive}` has an entry `{entry}` that cannot be taken")]
    Entry {
        /// The archive or layer.
        archive: String,
        /// The entry, as the archive names it.
        entry: String,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// More was unpacked than is allowed.
    #[error("`{archive}` unpacks to more than {limit}")]
    TooLarge {
        /// The archive, layer or directory.
        archive: String,
        /// The limit for the whole import.
        limit: Bytes,
    },
    /// More files than any root file system has.
    #[error("`{archive}` has more than {limit} files and directories")]
    TooMany {
        /// The archive, layer or directory.
        archive: String,
        /// The limit for the whole import.
        limit: u64,
    },
    /// A document of an image cannot be understood.
    #[error("`{document}` of the image cannot be understood")]
    Document {
        /// Its name or digest.
        document: String,
        /// What is wrong, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A document is longer than any that is honest.
    #[error("`{document}` of the image has more than {limit}")]
    DocumentSize {
        /// Its name or digest.
        document: String,
        /// The limit.
        limit: Bytes,
    },
    /// A part of an image is not there.
    #[error("the image lacks `{part}`")]
    NoPart {
        /// Its name or digest.
        part: String,
    },
    /// A part of an image is not what it should be.
    #[error("`{part}` of the image has the digest {found}; {wanted} was announced")]
    Digest {
        /// Its name or digest.
        part: String,
        /// What was announced.
        wanted: String,
        /// What it has.
        found: String,
    },
    /// A part of an image is longer or shorter than it should be.
    #[error("`{part}` of the image has {found} bytes; {wanted} were announced")]
    Size {
        /// Its name or digest.
        part: String,
        /// What was announced.
        wanted: u64,
        /// What it has.
        found: u64,
    },
    /// A digest that cannot be checked.
    #[error("the digest `{digest}` cannot be checked: only SHA-256 is known")]
    DigestAlgorithm {
        /// The digest.
        digest: String,
    },
    /// A part of an image is of an unknown kind.
    #[error("`{part}` of the image has the media type `{media_type}`, which is not known")]
    MediaType {
        /// Its name or digest.
        part: String,
        /// The media type.
        media_type: String,
    },
    /// No image for this machine.
    #[error("there is no image for {wanted} in it{}", list(": it has ", found))]
    NoPlatform {
        /// What was looked for.
        wanted: String,
        /// What is there.
        found: Vec<String>,
    },
    /// More than one image that would do.
    #[error("there are several images in it that could be meant{}", list(": ", found))]
    Several {
        /// Their names or digests.
        found: Vec<String>,
    },
    /// The list of layers and the list of their digests differ.
    #[error("the image has {layers} layers, and its configuration has {digests} digests of layers")]
    LayerCount {
        /// How many layers.
        layers: usize,
        /// How many digests.
        digests: usize,
    },
    /// Something is mounted inside of a directory.
    #[error("another file system is mounted on `{}`", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("`{}` holds no files", path.display())]
    Empty {
        /// The source.
        path: PathBuf,
    },
    /// The wanted size has no room for the content.
    #[error("the root file system needs {needed}; {given} were asked for")]
    TooSmall {
        /// What the content takes.
        needed: MiB,
        /// What was asked for.
        given: MiB,
    },
    /// The file system could not be made.
    #[error("could not write the root file system")]
    Write(#[source] CmdError),
    /// A file or directory could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was being attempted.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is no longer wanted.
    #[error("the import was broken off")]
    Cancelled,
}

/// What is wrong with an archive as a whole.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It ends in the middle.
    #[error("it is cut off")]
    CutOff,
    /// It cannot be read or unpacked.
    #[error("it could not be read")]
    Read(#[source] io::Error),
    /// A header has another checksum than it says.
    #[error("a header's checksum is wrong")]
    Checksum,
    /// A field of a header is no number, or one that nothing can have.
    #[error("the {field} of the entry `{entry}` makes no sense")]
    Field {
        /// The field.
        field: &'static str,
        /// The entry.
        entry: String,
    },
    /// An extended header is not made as it should be.
    #[error("an extended header makes no sense")]
    Record,
    /// An extended header is longer than any that is honest.
    #[error("an extended header has more than {limit} bytes")]
    RecordSize {
        /// The limit.
        limit: u64,
    },
    /// The map of a sparse file makes no sense.
    #[error("the map of the sparse file `{entry}` makes no sense")]
    Sparse {
        /// The entry.
        entry: String,
    },
}

/// Why an entry of an archive, or a file of a directory, is refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Its name climbs.
    #[error("its name has a part `..`")]
    Climbs,
    /// Its name does not begin in the tree.
    #[error("its name is absolute")]
    Absolute,
    /// No file can have the name.
    #[error("its name is longer than a path can be, or has a byte that none can have")]
    Name,
    /// The tree is deeper than any that is honest.
    #[error("it lies more than {limit} directories deep")]
    TooDeep {
        /// The limit.
        limit: u16,
    },
    /// A symbolic link before it leads out of the tree.
    #[error("it lies behind a symbolic link that leads out of the tree")]
    ThroughLink,
    /// Something else than a directory before it.
    #[error("it lies below something that is no directory")]
    ThroughFile,
    /// A hard link to something outside of the tree.
    #[error("it is a hard link to `{target}`, which leads out of the tree")]
    LinkOutside {
        /// The target, as the archive names it.
        target: String,
    },
    /// A hard link to nothing.
    #[error("it is a hard link to `{target}`, which is not there")]
    LinkMissing {
        /// The target.
        target: String,
    },
    /// A hard link to a directory.
    #[error("it is a hard link to `{target}`, which is a directory")]
    LinkToDirectory {
        /// The target.
        target: String,
    },
    /// A device node that a root file system has no use for.
    #[error("it is a {kind} device {major}:{minor} outside of `/dev`")]
    Device {
        /// `character` or `block`.
        kind: &'static str,
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A kind of entry that is not known.
    #[error("it is of the kind `{kind}`, which is not known")]
    Kind {
        /// The letter in the header.
        kind: char,
    },
    /// The root of the tree is something else than a directory.
    #[error("it would replace the root of the tree")]
    Root,
    /// The kernel refused.
    #[error("could not {action}")]
    Io {
        /// What was being attempted.
        action: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl EntryError {
    /// For `map_err`.
    pub(super) fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }
}

fn list(lead: &str, words: &[String]) -> String {
    if words.is_empty() { String::new() } else { format!("{lead}{}", words.join(", ")) }
}

impl ImportError {
    /// Says which file could not be read or written; for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } | Self::Entry { source: EntryError::Io { source, .. }, .. } => {
                Some(source.kind())
            }
            _ => None,
        }
    }
}

impl Explain for ImportError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotRoot => ErrorCode::NotPermitted,
            Self::Missing { .. } | Self::TooSmall { .. } => ErrorCode::InvalidRequest,
            Self::Cancelled | Self::Write(CmdError::Cancelled { .. }) => ErrorCode::Interrupted,
            Self::Write(source) => source.code(),
            _ => match self.io_kind() {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    ErrorCode::NoSpace
                }
                Some(io::ErrorKind::PermissionDenied) => ErrorCode::NotPermitted,
                _ => ErrorCode::ImageUnusable,
            },
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NotRoot => "run the daemon as root",
            Self::Missing { .. } => "the daemon reads the path, on the machine that it runs on",
            Self::UnknownSource { .. } => {
                "give a directory, a tar archive (plain, gzip, XZ or Zstandard), an OCI image \
                 layout, or what `docker save` writes; register an ext4 image with \
                 `banger image register`"
            }
            Self::Compression { .. } => "unpack it, or compress it with gzip, XZ or Zstandard",
            Self::CutOff { .. }
            | Self::Damaged { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::NoPart { .. } => "make or copy it once more",
            Self::Entry {
                source:
                    EntryError::Climbs | EntryError::ThroughLink | EntryError::LinkOutside { .. },
                ..
            } => "no honest archive has such an entry: use it only if you know who made it",
            Self::Empty { .. } => "give the directory or archive that has `/etc` and `/usr`",
            Self::Entry { source: EntryError::Absolute, .. } => {
                "make the archive with names that begin in the tree, for instance with `tar -C`"
            }
            Self::Entry { source: EntryError::Device { .. }, .. } => {
                "leave the device out; the guest's kernel makes the devices in `/dev`"
            }
            Self::TooLarge { .. } => "allow more with `--max-size`, if you trust where it is from",
            Self::NoPlatform { .. } | Self::Several { .. } => {
                "copy the image that you mean into a layout of its own, with `skopeo copy`"
            }
            Self::Mount { .. } => "unmount it, or give a copy without it",
            Self::TooSmall { .. } => "give a larger `--size`, or none",
            Self::Write(source) => return source.hints(),
            _ => match self.code() {
                ErrorCode::NoSpace => "free some room in the daemon's state directory",
                ErrorCode::NotPermitted => "run the daemon as root",
                _ => return Vec::new(),
            },
        };
        vec![hint.to_owned()]
    }
}
