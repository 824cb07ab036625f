//! The wall around an unpack: a directory that nothing is written outside of, whatever an archive says.
//!
//! Every name is resolved by the kernel, from the tree's own root, with a rule that no step may leave
//! the tree (`RESOLVE_BENEATH`, openat2(2), Linux 5.6): not through `..`, not through a symbolic link
//! that is absolute or climbs, not through a mount. The last part of a name is never followed: what
//! is there is replaced, and files are made with `O_EXCL`.

use super::entries::{Kind, Meta};
use super::error::EntryError;
use super::name::TreePath;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, fstat, futimens, linkat, makedev,
    mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Deeper than any tree that is honest. Each level of a removal holds a file open.
const MAX_DEPTH: u16 = 256;
/// How often the kernel may say that a concurrent rename kept it from being sure. Nobody renames here.
const TRIES: usize = 16;
/// Of directories that an archive has files in but no entry for.
const IMPLIED_MODE: Mode = Mode::from_bits_retain(0o755);

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// The directory that archives are unpacked into.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// How deep each directory is, by its inode, since names may lead to it by links.
    depths: HashMap<u64, u16>,
    /// Times of directories: they are set last, since whatever is made in one changes its time.
    times: BTreeMap<PathBuf, Timespec>,
    layer: Layer,
    made: u64,
}

/// What the current layer has made, as hashes of directory and name. Whiteouts spare it.
#[derive(Debug)]
enum Layer {
    /// There is nothing below it.
    First,
    Later {
        own: HashSet<u64>,
        hasher: RandomState,
    },
}

impl Tree {
    /// Takes an empty directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        fchmod(&root, IMPLIED_MODE)?;
        let depths = HashMap::from([(fstat(&root)?.st_ino, 0)]);
        Ok(Self { root, depths, times: BTreeMap::new(), layer: Layer::First, made: 0 })
    }

    /// Everything that is made from here on belongs to one more layer.
    pub(super) fn begin_layer(&mut self) {
        self.layer = Layer::Later { own: HashSet::new(), hasher: RandomState::new() };
    }

    /// How many files and directories were made.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Makes a file, for its content to be written. [`settle`] gives it the rest.
    pub(crate) fn file(&mut self, path: &TreePath) -> Result<File, EntryError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.place(path, "create the file", |parent, name| {
            openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
        })
    }

    /// Makes a directory, or gives the one that is there another owner and mode.
    pub(crate) fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), EntryError> {
        let directory = match path.split() {
            None => self.resolve(Path::new(""), OFlags::RDONLY)?,
            Some((parent, name)) => {
                let parent = self.parent(&parent)?;
                self.own(&parent, name)?;
                self.directory_in(&parent, name)?
            }
        };
        settle(&directory, meta)?;
        self.times.insert(path.as_path().to_owned(), meta.modified);
        Ok(())
    }

    /// Makes a symbolic link. Where it leads is the guest's business.
    pub(super) fn symlink(
        &mut self,
        path: &TreePath,
        target: &[u8],
        meta: &Meta,
    ) -> Result<(), EntryError> {
        let target = OsStr::from_bytes(target);
        self.place(path, "make the symbolic link", |parent, name| symlinkat(target, parent, name))?;
        self.settle_name(path, meta)
    }

    /// Makes a FIFO or a device.
    pub(super) fn node(
        &mut self,
        path: &TreePath,
        kind: Kind,
        meta: &Meta,
    ) -> Result<(), EntryError> {
        let (kind, device) = match kind {
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        let mode = Mode::from_raw_mode(meta.mode);
        self.place(path, "make the node", |parent, name| {
            mknodat(parent, name, kind, mode, device)
        })?;
        self.settle_name(path, meta)
    }

    /// Makes another name of a file that is there.
    pub(super) fn hard_link(
        &mut self,
        path: &TreePath,
        target: &TreePath,
    ) -> Result<(), EntryError> {
        let shown = || target.as_path().display().to_string();
        let missing = || EntryError::LinkMissing { target: shown() };
        let (from, from_name) = target.split().ok_or_else(missing)?;
        let from = self.existing(&from)?.ok_or_else(missing)?;
        let found = lookup(&from, from_name)?.ok_or_else(missing)?;
        if is_directory(&found) {
            return Err(EntryError::LinkToDirectory { target: shown() });
        }
        let (to, name) = path.split().ok_or(EntryError::Root)?;
        let to = self.parent(&to)?;
        // A second name of itself, which must not remove the first.
        if lookup(&to, name)?.is_some_and(|there| there.st_ino == found.st_ino) {
            return self.own(&to, name);
        }
        self.place(path, "make the hard link", |to, name| {
            linkat(&from, from_name, to, name, AtFlags::empty())
        })
        .map_err(|error| match error {
            // It lay below what the new name replaced.
            EntryError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => missing(),
            other => other,
        })
    }

    /// Removes what lower layers have under this name.
    pub(super) fn hide(&mut self, path: &TreePath) -> Result<(), EntryError> {
        let (parent, name) = path.split().ok_or(EntryError::Root)?;
        match self.existing(&parent)? {
            Some(parent) => self.prune(&parent, name).map(drop),
            None => Ok(()),
        }
    }

    /// Removes what lower layers have in this directory.
    pub(super) fn hide_below(&mut self, path: &TreePath) -> Result<(), EntryError> {
        match self.existing(path)? {
            Some(directory) => self.prune_all(&directory).map(drop),
            None => Ok(()),
        }
    }

    /// Gives directories their times. Nothing may be made in the tree afterwards.
    pub(super) fn finish(&mut self) -> Result<(), EntryError> {
        for (path, time) in std::mem::take(&mut self.times) {
            // Some were removed or replaced by a later layer.
            if let Ok(directory) = self.resolve(&path, OFlags::RDONLY | OFlags::NOFOLLOW) {
                futimens(&directory, &at(time)).map_err(EntryError::io("set the time"))?;
            }
        }
        Ok(())
    }

    /// Makes something under a name, in place of whatever has that name.
    fn place<T>(
        &mut self,
        path: &TreePath,
        action: &'static str,
        make: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, EntryError> {
        let (parent, name) = path.split().ok_or(EntryError::Root)?;
        let parent = self.parent(&parent)?;
        self.own(&parent, name)?;
        let made = match make(&parent, name) {
            Err(Errno::EXIST) => {
                self.clear(&parent, name)?;
                make(&parent, name)
            }
            made => made,
        };
        self.made += 1;
        made.map_err(EntryError::io(action))
    }

    /// Owner, mode and time of something that cannot be opened.
    fn settle_name(&mut self, path: &TreePath, meta: &Meta) -> Result<(), EntryError> {
        let (parent, name) = path.split().ok_or(EntryError::Root)?;
        let parent = self.parent(&parent)?;
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(EntryError::io("set the owner"))?;
        let found = lookup(&parent, name)?;
        if found.is_some_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Symlink) {
            // mknod(2) minds the umask, and chown(2) drops bits.
            chmodat(&parent, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
                .map_err(EntryError::io("set the mode"))?;
        }
        utimensat(&parent, name, &at(meta.modified), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(EntryError::io("set the time"))
    }

    /// The directory at a path, with those that are missing made.
    fn parent(&mut self, path: &TreePath) -> Result<OwnedFd, EntryError> {
        if let Some(found) = self.existing(path)? {
            return Ok(found);
        }
        let (above, name) = path.split().ok_or(EntryError::Root)?;
        let above = self.parent(&above)?;
        match self.make_directory(&above, name) {
            // A symbolic link to nothing.
            Err(EntryError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Err(EntryError::ThroughFile);
            }
            other => other?,
        }
        self.own(&above, name)?;
        self.open_directory(&above, name).map_err(EntryError::io("open the directory"))
    }

    /// The directory at a path; `None` if there is none.
    fn existing(&self, path: &TreePath) -> Result<Option<OwnedFd>, EntryError> {
        match self.resolve(path.as_path(), OFlags::PATH) {
            Ok(found) => Ok(Some(found)),
            Err(EntryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, EntryError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            tries += 1;
            match openat2(&self.root, path, flags, Mode::empty(), BENEATH) {
                Err(Errno::AGAIN) if tries < TRIES => {}
                // Out of the tree; in a circle, or through a link of procfs.
                Err(Errno::XDEV | Errno::LOOP) => return Err(EntryError::ThroughLink),
                Err(Errno::NOTDIR) => return Err(EntryError::ThroughFile),
                Err(Errno::NAMETOOLONG) => return Err(EntryError::Name),
                other => return other.map_err(EntryError::io("find the directory")),
            }
        }
    }

    fn open_directory(&self, parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(parent, name, flags, Mode::empty(), BENEATH)
    }

    fn make_directory(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<(), EntryError> {
        let above = fstat(parent).map_err(EntryError::io("inspect the directory"))?.st_ino;
        let depth = self.depths.get(&above).copied().unwrap_or(0) + 1;
        if depth > MAX_DEPTH {
            return Err(EntryError::TooDeep { limit: MAX_DEPTH });
        }
        mkdirat(parent, name, IMPLIED_MODE).map_err(EntryError::io("make the directory"))?;
        chmodat(parent, name, IMPLIED_MODE, AtFlags::empty())
            .map_err(EntryError::io("set the mode"))?;
        let made = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(EntryError::io("inspect the directory"))?;
        self.depths.insert(made.st_ino, depth);
        self.made += 1;
        Ok(())
    }

    /// The directory of this name, in place of anything else that has it.
    fn directory_in(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, EntryError> {
        if let Ok(found) = self.open_directory(parent, name) {
            return Ok(found);
        }
        if lookup(parent, name)?.is_some() {
            self.clear(parent, name)?;
        }
        self.make_directory(parent, name)?;
        self.open_directory(parent, name).map_err(EntryError::io("open the directory"))
    }

    /// Notes that a name is of the current layer.
    fn own(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<(), EntryError> {
        if let Layer::Later { own, hasher } = &mut self.layer {
            own.insert(hasher.hash_one((inode(parent)?, name)));
        }
        Ok(())
    }

    fn is_own(&self, parent: &OwnedFd, name: &OsStr) -> Result<bool, EntryError> {
        match &self.layer {
            Layer::First => Ok(true),
            Layer::Later { own, hasher } => {
                Ok(own.contains(&hasher.hash_one((inode(parent)?, name))))
            }
        }
    }

    /// Removes whatever has this name.
    fn clear(&self, parent: &OwnedFd, name: &OsStr) -> Result<(), EntryError> {
        match self.open_directory(parent, name) {
            Ok(directory) => {
                for child in children(&directory)? {
                    self.clear(&directory, OsStr::from_bytes(child.to_bytes()))?;
                }
                unlinkat(parent, name, AtFlags::REMOVEDIR)
            }
            Err(_) => unlinkat(parent, name, AtFlags::empty()),
        }
        .map_err(EntryError::io("remove"))
    }

    /// Removes what has this name, less what the current layer has made. Returns whether something
    /// stays.
    fn prune(&self, parent: &OwnedFd, name: &OsStr) -> Result<bool, EntryError> {
        let own = self.is_own(parent, name)?;
        let Ok(directory) = self.open_directory(parent, name) else {
            if !own && lookup(parent, name)?.is_some() {
                unlinkat(parent, name, AtFlags::empty()).map_err(EntryError::io("remove"))?;
            }
            return Ok(own);
        };
        let stays = self.prune_all(&directory)? || own;
        if !stays {
            unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(EntryError::io("remove"))?;
        }
        Ok(stays)
    }

    fn prune_all(&self, directory: &OwnedFd) -> Result<bool, EntryError> {
        let mut stays = false;
        for child in children(directory)? {
            stays |= self.prune(directory, OsStr::from_bytes(child.to_bytes()))?;
        }
        Ok(stays)
    }
}

/// Gives an open file or directory its owner, mode, attributes and time, in an order in which none
/// undoes another: chown(2) drops the bits for set-user-id, and capabilities.
pub(super) fn settle(file: impl AsFd, meta: &Meta) -> Result<(), EntryError> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    fchown(&file, Some(uid), Some(gid)).map_err(EntryError::io("set the owner"))?;
    fchmod(&file, Mode::from_raw_mode(meta.mode)).map_err(EntryError::io("set the mode"))?;
    for (name, value) in &meta.attributes {
        fsetxattr(&file, name.as_str(), value, XattrFlags::empty())
            .map_err(EntryError::io("set an extended attribute"))?;
    }
    futimens(&file, &at(meta.modified)).map_err(EntryError::io("set the time"))
}

fn at(time: Timespec) -> Timestamps {
    Timestamps { last_access: time, last_modification: time }
}

fn inode(directory: &OwnedFd) -> Result<u64, EntryError> {
    Ok(fstat(directory).map_err(EntryError::io("inspect the directory"))?.st_ino)
}

fn lookup(parent: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, EntryError> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(EntryError::io("inspect")(errno)),
    }
}

fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

fn children(directory: &OwnedFd) -> Result<Vec<std::ffi::CString>, EntryError> {
    let list = || {
        let is_child = |name: &CStr| !matches!(name.to_bytes(), b"." | b"..");
        // One that was only looked up cannot be read.
        Dir::new(openat(directory, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .filter(|name| name.as_ref().map_or(true, |name| is_child(name)))
            .collect::<rustix::io::Result<Vec<_>>>()
    };
    list().map_err(EntryError::io("list the directory"))
}
