//! File systems of the measurement's own, each in a file, for as long as they are needed.
//!
//! What the machine's own one does beside its work, such as passing on each removal to a disk that
//! takes a few hundred of them in a second, would be in all figures.

use crate::cmd::Cmd;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Room for all that is there at one time; what is not used takes none.
const SIZE: u64 = 6 << 30;

/// How a file system is made.
type Kind = (&'static str, &'static [&'static str]);

const ORDINARY: Kind = ("ext4", &["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0"]);
/// Those that share blocks between files, in the order in which they are tried.
const SHARING: [Kind; 2] =
    [("xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"]), ("btrfs", &["mkfs.btrfs", "-q"])];

/// A file system that is mounted where nobody else sees it.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) kind: &'static str,
    pub(super) dir: PathBuf,
}

impl Volume {
    /// One as most machines have it.
    pub(super) fn ordinary(scratch: &Path) -> Result<Self> {
        Self::mount(ORDINARY, scratch)?.context("cannot mount ext4")
    }

    /// One that shares blocks between files; `None` where the kernel can mount none.
    pub(super) fn sharing(scratch: &Path) -> Result<Option<Self>> {
        for kind in SHARING {
            if let Some(volume) = Self::mount(kind, scratch)? {
                return Ok(Some(volume));
            }
        }
        Ok(None)
    }

    fn mount((kind, make): Kind, scratch: &Path) -> Result<Option<Self>> {
        let (dir, image) = (scratch.join(kind), scratch.join(format!("{kind}.img")));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        File::create(&image)
            .and_then(|file| file.set_len(SIZE))
            .with_context(|| format!("cannot write {}", image.display()))?;
        Cmd::new(make[0]).args(&make[1..]).arg(&image).silent().run()?;
        let mount = Cmd::new("mount").args(["-t", kind, "-o", "loop"]).arg(&image).arg(&dir);
        Ok(mount.probe()?.map(|_nothing| Self { kind, dir }))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Its loop device goes with it.
        if let Err(error) = Cmd::new("umount").arg(&self.dir).silent().clean_up().run() {
            eprintln!("note: {} stays mounted until this ends: {error}", self.dir.display());
        }
    }
}
