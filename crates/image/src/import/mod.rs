//! Importing a root file system: from a directory, a tar archive, or an image that container tools
//! wrote.
//!
//! ```text
//! directory ─────────────────────────────┐
//! tar ───────────────► unpack ─► tree ───┼─► measure ─► mke2fs -d ─► rootfs.ext4, import.json
//! image ─► manifest ─► layers ─►         │
//! ```
//!
//! What is imported may come from anybody. Three things stand between it and the machine: [`tree`],
//! which writes below one directory only; [`budget`], which bounds what is unpacked; and [`digest`],
//! which holds each part to what was announced. Nothing of it is run.
//!
//! All of it is made in one directory that the caller gives and removes; whoever is killed leaves
//! nothing outside of it.

mod bootable;
mod budget;
mod digest;
pub(crate) mod entries;
mod error;
mod extended;
mod manifest;
mod measure;
pub(crate) mod name;
mod parts;
mod policy;
mod record;
mod source;
pub(crate) mod sparse;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
mod unpack;

pub use bootable::{Systemd, Warning};
pub use budget::Limits;
pub use error::{EntryError, ImportError, TarError};
pub use record::{Digests, ImageConfig, ImportRecord, RECORD_FILE, SourceKind};

use crate::ext4::{self, Inodes};
use banger_core::unit::MiB;
use budget::Budget;
use digest::Hashing;
use manifest::Layer;
use measure::{Content, Trust};
use parts::Parts;
use source::Source;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use tree::Tree;
use unpack::{LeftOut, Names, Unpacker};

/// The root file system's file.
pub const ROOTFS_FILE: &str = "rootfs.ext4";
/// Where archives are unpacked.
const TREE_DIR: &str = "tree";
/// Where a compressed image archive is unpacked, to be read in any order.
const SPOOL_FILE: &str = "spool.tar";

/// What to import, and where to.
#[derive(Debug)]
pub struct ImportRequest<'a> {
    /// A directory or file.
    pub source: &'a Path,
    /// A directory that nobody else enters. What is made is left in it, and nothing else.
    pub dir: &'a Path,
    /// The size of the root file system; when absent, what the content needs and a quarter more.
    pub size: Option<MiB>,
    /// Bounds for what is unpacked.
    pub limits: Limits,
    /// Becomes true when the import shall end early.
    pub cancel: &'a AtomicBool,
}

/// The parts of an import, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportStep {
    /// Finding out what the source is.
    Inspect,
    /// Unpacking an archive of a root file system.
    Unpack,
    /// Unpacking one of an image's layers.
    Layer {
        /// Which one, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// Looking at the files.
    Measure,
    /// Writing the ext4 image.
    Write,
}

impl fmt::Display for ImportStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inspect => f.write_str("looking at the source"),
            Self::Unpack => f.write_str("unpacking the archive"),
            Self::Layer { number, of } => write!(f, "unpacking layer {number} of {of}"),
            Self::Measure => f.write_str("looking at the files"),
            Self::Write => f.write_str("writing the root file system"),
        }
    }
}

/// A root file system that was imported.
#[derive(Debug)]
pub struct Imported {
    /// The ext4 image.
    pub rootfs: PathBuf,
    /// What is kept beside it, as it stands in [`RECORD_FILE`].
    pub record: ImportRecord,
    /// What its user should know.
    pub warnings: Vec<Warning>,
}

/// Imports a root file system. `progress` is called at the beginning of each step.
///
/// # Errors
///
/// When the source is nothing that can be imported, contradicts itself, is larger than the limits, or
/// has an entry that is refused; when the disk is full or the import is broken off. The directory then
/// holds nothing of it.
pub fn import(
    request: &ImportRequest<'_>,
    progress: &dyn Fn(ImportStep),
) -> Result<Imported, ImportError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ImportError::NotRoot);
    }
    let mut scratch =
        Scratch { dir: request.dir, made: vec![TREE_DIR, SPOOL_FILE, ROOTFS_FILE, RECORD_FILE] };
    let budget = Budget::new(request.limits, request.cancel);
    progress(ImportStep::Inspect);
    let source = Source::open(request.source, &request.dir.join(SPOOL_FILE), &budget)?;
    let mut record = ImportRecord::new(request.source.to_owned(), source.kind());

    let stage = Stage { request, budget: &budget, progress, tree: request.dir.join(TREE_DIR) };
    let (root, trust, left_out) = stage.fill(source, &mut record)?;
    progress(ImportStep::Measure);
    let content = measure::measure(&root, trust, &budget)?;
    if content.entries == 0 {
        return Err(ImportError::Empty { path: request.source.to_owned() });
    }
    let warnings = stage.warn(&root, left_out)?;
    progress(ImportStep::Write);
    let rootfs = stage.write(&root, content)?;
    record.entries = content.entries;
    record.warnings = warnings.iter().map(Warning::to_string).collect();
    let file = request.dir.join(RECORD_FILE);
    fs::write(&file, record.render()).map_err(ImportError::io("write", &file))?;
    scratch.made = vec![TREE_DIR, SPOOL_FILE];
    scratch.clear().map_err(ImportError::io("clean up", request.dir))?;
    Ok(Imported { rootfs, record, warnings })
}

/// Unpacks an archive or an image, and makes no file system of it. Returns where the tree is: in the
/// request's directory, or, for a source that is a directory, the source. Whoever is not root unpacks
/// what is his own.
///
/// # Errors
///
/// As [`import`] has them. The directory may then hold what was unpacked until then.
pub fn unpack(request: &ImportRequest<'_>) -> Result<PathBuf, ImportError> {
    let budget = Budget::new(request.limits, request.cancel);
    let source = Source::open(request.source, &request.dir.join(SPOOL_FILE), &budget)?;
    let mut record = ImportRecord::new(request.source.to_owned(), source.kind());
    let tree = request.dir.join(TREE_DIR);
    let stage = Stage { request, budget: &budget, progress: &|_step| (), tree };
    let (root, ..) = stage.fill(source, &mut record)?;
    Ok(root)
}

/// An import under way.
struct Stage<'a> {
    request: &'a ImportRequest<'a>,
    budget: &'a Budget<'a>,
    progress: &'a dyn Fn(ImportStep),
    tree: PathBuf,
}

impl Stage<'_> {
    /// Makes the tree, unless the source is one. Returns where it is.
    fn fill(
        &self,
        source: Source,
        record: &mut ImportRecord,
    ) -> Result<(PathBuf, Trust, LeftOut), ImportError> {
        let left_out = match source {
            Source::Directory => {
                let root = self.request.source.to_owned();
                return Ok((root, Trust::Foreign, LeftOut::default()));
            }
            Source::Tar(file) => {
                (self.progress)(ImportStep::Unpack);
                let mut unpacker = self.unpacker(Names::Plain)?;
                record.digests.archive = Some(self.unpack_file(&mut unpacker, &file)?);
                self.finish(unpacker)?
            }
            Source::Image { parts, found, .. } => {
                let mut unpacker = self.unpacker(Names::WithWhiteouts)?;
                for (number, layer) in (1..).zip(&found.layers) {
                    (self.progress)(ImportStep::Layer { number, of: found.layers.len() });
                    if number > 1 {
                        unpacker.begin_layer();
                    }
                    unpack_layer(&mut unpacker, &parts, layer)?;
                }
                record.digests = found.digests;
                record.config = Some(found.config);
                self.finish(unpacker)?
            }
        };
        Ok((self.tree.clone(), Trust::Unpacked, left_out))
    }

    fn unpacker(&self, names: Names) -> Result<Unpacker<'_>, ImportError> {
        let path = &self.tree;
        let open = || {
            DirBuilder::new().mode(0o700).create(path)?;
            Tree::open(path)
        };
        let tree = open().map_err(ImportError::io("create the directory", path))?;
        Ok(Unpacker::new(tree, names, self.budget))
    }

    /// Unpacks an archive of a root file system. Returns its digest.
    fn unpack_file(&self, unpacker: &mut Unpacker<'_>, file: &File) -> Result<String, ImportError> {
        let path = self.request.source;
        let name = path.display().to_string();
        let file = source::rewound(file).map_err(ImportError::io("read", path))?;
        let mut packed = Hashing::new(file);
        unpacker.unpack(&name, source::unpacked(&name, &mut packed)?)?;
        drain(&mut packed).map_err(ImportError::io("read", path))?;
        Ok(packed.digest().as_str().to_owned())
    }

    fn finish(&self, unpacker: Unpacker<'_>) -> Result<LeftOut, ImportError> {
        unpacker.finish().map_err(|source| ImportError::Entry {
            archive: self.request.source.display().to_string(),
            entry: "/".to_owned(),
            source,
        })
    }

    fn warn(&self, root: &Path, left_out: LeftOut) -> Result<Vec<Warning>, ImportError> {
        let mut warnings = bootable::inspect(root).map_err(ImportError::io("inspect", root))?;
        if left_out.devices > 0 {
            warnings.push(Warning::DevicesLeftOut(left_out.devices));
        }
        if left_out.attributes > 0 {
            warnings.push(Warning::AttributesLeftOut(left_out.attributes));
        }
        Ok(warnings)
    }

    fn write(&self, root: &Path, content: Content) -> Result<PathBuf, ImportError> {
        let size = self.request.size.unwrap_or_else(|| content.roomy());
        let needed = content.least();
        if size < needed {
            return Err(ImportError::TooSmall { needed, given: size });
        }
        let image = self.request.dir.join(ROOTFS_FILE);
        let inodes = Inodes::Number(content.inodes(size));
        ext4::write(root, &image, size, inodes, self.budget.cancel())
            .map_err(ImportError::Write)?;
        Ok(image)
    }
}

/// Unpacks a layer, and checks its digests as packed and as unpacked while it is read.
fn unpack_layer(
    unpacker: &mut Unpacker<'_>,
    parts: &Parts,
    layer: &Layer,
) -> Result<(), ImportError> {
    let part = parts.open(&layer.part)?;
    if let Some((_, size)) = layer.packed {
        part.check_size(size, &layer.part)?;
    }
    let mut packed = part.hashing();
    let archive = Hashing::new(source::unpacked(&layer.part, &mut packed)?);
    let unpacked = unpacker.unpack(&layer.part, archive)?.digest();
    drain(&mut packed).map_err(ImportError::io("read", Path::new(&layer.part)))?;
    if let Some((wanted, _)) = &layer.packed {
        wanted.check(&packed.digest(), &layer.part)?;
    }
    layer.unpacked.check(&unpacked, &layer.part)
}

/// Reads what a decoder left, so that the digest is that of the whole.
fn drain(reader: &mut impl Read) -> io::Result<()> {
    io::copy(reader, &mut io::sink()).map(drop)
}

/// What an import makes and does not leave.
struct Scratch<'a> {
    dir: &'a Path,
    made: Vec<&'static str>,
}

impl Scratch<'_> {
    fn clear(&self) -> io::Result<()> {
        for name in &self.made {
            let path = self.dir.join(name);
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!(dir = %self.dir.display(), %error, "the import's scratch files stay");
        }
    }
}
