//! Unpacking one archive into the tree: a whole root file system, or one layer over others.
//!
//! Whiteouts are those of the OCI image specification (layer.md, "Whiteouts"): `.wh.NAME` hides NAME
//! of the layers below, `.wh..wh..opq` hides all that they have in its directory. What the layer
//! itself has stays, in whatever order they come.

use super::budget::{Budget, Metered, Stop};
use super::entries::{Entries, Entry, Kind, Needs};
use super::error::{EntryError, ImportError, TarError};
use super::name::{TreePath, lossy};
use super::policy::{self, Verdict};
use super::sparse::Map;
use super::tree::{Tree, settle};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What aufs keeps for itself.
const AUFS: &[u8] = b".wh..wh.";
/// How much of a file is copied at a time.
const CHUNK: usize = 256 << 10;

/// What the names of an archive mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Each is a file.
    Plain,
    /// Some are whiteouts.
    WithWhiteouts,
}

/// What of the archives did not become part of the tree, and was no reason to refuse them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) devices: u64,
    pub(super) attributes: u64,
}

/// The unpacking of all archives of one import.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    tree: Tree,
    budget: &'a Budget<'a>,
    buffer: Vec<u8>,
    left_out: LeftOut,
    names: Names,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(tree: Tree, names: Names, budget: &'a Budget<'a>) -> Self {
        Self { tree, budget, buffer: vec![0; CHUNK], left_out: LeftOut::default(), names }
    }

    /// Lets the next archive be a layer over what was unpacked so far.
    pub(super) fn begin_layer(&mut self) {
        self.tree.begin_layer();
    }

    /// Unpacks an archive to its end and returns its reader, which has then been read whole.
    /// `archive` is its name in messages.
    pub(super) fn unpack<R: Read>(&mut self, archive: &str, reader: R) -> Result<R, ImportError> {
        let budget = self.budget;
        let mut entries = Entries::new(Metered::new(reader, budget), Needs::Meta);
        while let Some(mut entry) = entries.next().map_err(|error| budget.failed(error, archive))? {
            self.take(&mut entry, &mut entries).map_err(|trouble| match trouble {
                Trouble::Entry(source) => ImportError::Entry {
                    archive: archive.to_owned(),
                    entry: lossy(&entry.name),
                    source,
                },
                Trouble::Archive(error) => budget.failed(error, archive),
                Trouble::Stop(stop) => budget.stopped(stop, archive),
            })?;
        }
        let reader = entries.finish().map_err(|error| budget.failed(error, archive))?;
        Ok(reader.into_inner())
    }

    /// Ends the unpacking. Returns what was left out.
    pub(super) fn finish(mut self) -> Result<LeftOut, EntryError> {
        self.tree.finish()?;
        Ok(self.left_out)
    }

    fn take<R: Read>(
        &mut self,
        entry: &mut Entry,
        entries: &mut Entries<R>,
    ) -> Result<(), Trouble> {
        let made = self.tree.made();
        let path = TreePath::parse(&entry.name)?;
        if !self.take_whiteout(&path)? {
            self.drop_attributes(entry);
            self.place(&path, entry, entries)?;
        }
        // One entry may need many directories, and costs something even if it makes nothing.
        self.budget.take_entries((self.tree.made() - made).max(1))?;
        Ok(())
    }

    fn place<R: Read>(
        &mut self,
        path: &TreePath,
        entry: &Entry,
        entries: &mut Entries<R>,
    ) -> Result<(), Trouble> {
        let meta = &entry.meta;
        match entry.kind {
            Kind::File => {
                let file = self.tree.file(path)?;
                self.fill(&file, &entry.map, entries)?;
                settle(&file, meta)?;
            }
            Kind::Directory => self.tree.directory(path, meta)?,
            Kind::Symlink => self.tree.symlink(path, &entry.link, meta)?,
            Kind::HardLink => self.tree.hard_link(path, &link_target(&entry.link)?)?,
            Kind::Fifo => self.tree.node(path, entry.kind, meta)?,
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                match policy::judge_device(path, entry.kind)? {
                    Verdict::Take => self.tree.node(path, entry.kind, meta)?,
                    Verdict::LeaveOut => self.left_out.devices += 1,
                }
            }
            Kind::Unknown(kind) => return Err(EntryError::Kind { kind: char::from(kind) }.into()),
        }
        Ok(())
    }

    /// Writes a file's content where it belongs; what is between stays a hole.
    fn fill<R: Read>(
        &mut self,
        file: &File,
        map: &Map,
        entries: &mut Entries<R>,
    ) -> Result<(), Trouble> {
        for region in &map.regions {
            let (mut at, end) = (region.offset, region.offset + region.length);
            while at < end {
                let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
                let chunk = &mut self.buffer[..rest.min(CHUNK)];
                entries.read_content(chunk)?;
                file.write_all_at(chunk, at).map_err(EntryError::io("write the file"))?;
                at += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            }
        }
        // An empty region at the end says how long the file is.
        let written = map.regions.iter().rfind(|region| region.length > 0);
        let written = written.map_or(0, |last| last.offset + last.length);
        if written != map.size {
            file.set_len(map.size).map_err(EntryError::io("set the size"))?;
        }
        Ok(())
    }

    /// Does what a whiteout says. Returns false if the name is none.
    fn take_whiteout(&mut self, path: &TreePath) -> Result<bool, EntryError> {
        let Some((directory, name)) = path.split() else { return Ok(false) };
        let name = name.as_bytes();
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if self.names == Names::Plain {
            return Ok(false);
        }
        if name == OPAQUE {
            self.tree.hide_below(&directory)?;
        } else if !name.starts_with(AUFS) {
            // It may be `..`, which no path has.
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(EntryError::Climbs);
            }
            self.tree.hide(&directory.join(OsStr::from_bytes(hidden))?)?;
        }
        Ok(true)
    }

    fn drop_attributes(&mut self, entry: &mut Entry) {
        let attributes = &mut entry.meta.attributes;
        let before = attributes.len();
        match entry.kind {
            Kind::File | Kind::Directory => attributes.retain(|name, _| policy::is_kept(name)),
            // A hard link has those of its file, a symbolic link none that matter.
            _ => attributes.clear(),
        }
        let dropped = u64::try_from(before - attributes.len()).unwrap_or(u64::MAX);
        self.left_out.attributes += dropped;
    }
}

/// What ends the unpacking of an entry.
enum Trouble {
    Entry(EntryError),
    Archive(TarError),
    Stop(Stop),
}

impl From<EntryError> for Trouble {
    fn from(error: EntryError) -> Self {
        Self::Entry(error)
    }
}

impl From<TarError> for Trouble {
    fn from(error: TarError) -> Self {
        Self::Archive(error)
    }
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Where a hard link leads, which is a path of the tree as an entry's name is one.
fn link_target(target: &[u8]) -> Result<TreePath, EntryError> {
    match TreePath::parse(target) {
        // `/` would be the root.
        Ok(path) if !target.starts_with(b"/") => Ok(path),
        Err(error @ EntryError::Name) => Err(error),
        Ok(_) | Err(_) => Err(EntryError::LinkOutside { target: lossy(target) }),
    }
}
