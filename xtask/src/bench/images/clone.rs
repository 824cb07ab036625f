//! Clones of a root file system: by sharing its blocks, and by copying what is no hole.

use super::volume::Volume;
use super::{Pair, remove, settle};
use crate::cmd::{Cmd, Cost};
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A clone by reflink takes milliseconds, one by copying a second.
const SHARED_ROUNDS: usize = 40;
const COPY_ROUNDS: usize = 10;
/// The size of the root file system, in MiB.
const SIZE: u64 = 2048;

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Clones {
    /// By reflink, with the kind of the file system; absent where the kernel can mount none.
    pub(super) shared: Option<(&'static str, Pair)>,
    pub(super) copied: Pair,
    /// How much of the root file system is no hole, in MiB.
    pub(super) data: u64,
}

/// The two ways of one method.
struct Ways<'a> {
    /// The example, and what it calls the method.
    program: PathBuf,
    method: &'a str,
    option: &'a str,
    rootfs: &'a Path,
    dir: &'a Path,
}

/// Measures, by copying in `dir`.
pub(super) fn measure(
    workspace: &Workspace,
    trees: &Path,
    dir: &Path,
    scratch: &Path,
) -> Result<Clones> {
    let rootfs = dir.join("rootfs.ext4");
    Cmd::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d"])
        .args([trees, &rootfs])
        .arg(format!("{SIZE}M"))
        .silent()
        .run()?;
    let program = workspace.program(Profile::Release, "examples/clone");
    let ways = |method, option, rootfs, dir| Ways {
        program: program.clone(),
        method,
        option,
        rootfs,
        dir,
    };
    let mut clones = Clones { data: data_in(&rootfs)? >> 20, ..Clones::default() };
    let copying = ways("copy", "--sparse=always", &rootfs, dir);
    clones.copied = copying.measure("copying", COPY_ROUNDS)?;
    if let Some(shared) = Volume::sharing(scratch)? {
        let original = shared.dir.join("rootfs.ext4");
        Cmd::new("cp").arg("--sparse=always").args([&rootfs, &original]).silent().run()?;
        let sharing = ways("reflink", "--reflink=always", &original, &shared.dir);
        clones.shared = Some((shared.kind, sharing.measure("sharing blocks", SHARED_ROUNDS)?));
    }
    remove(&rootfs)?;
    Ok(clones)
}

impl Ways<'_> {
    fn measure(&self, what: &str, rounds: usize) -> Result<Pair> {
        Pair::measure(what, rounds, self.dir, || self.ours(), || self.theirs())
    }

    fn ours(&self) -> Result<Cost> {
        let state = self.dir.join("state");
        let clone = Cmd::new(&self.program).arg(self.method).args([self.rootfs, &state]);
        let cost = clone.measure()?;
        let disks = state.join("vms");
        let vm = fs::read_dir(&disks).ok().and_then(|mut entries| entries.next()?.ok());
        let vm = vm.with_context(|| format!("there is no disk in {}", disks.display()))?;
        self.check(&vm.path().join("root.img"))?;
        remove(&state)?;
        Ok(cost)
    }

    fn theirs(&self) -> Result<Cost> {
        let clone = self.dir.join("clone");
        let cost = Cmd::new("cp").arg(self.option).args([self.rootfs, &clone]).measure()?;
        self.check(&clone)?;
        remove(&clone)?;
        Ok(cost)
    }

    /// Fails unless the clone has the original's length and about as few blocks.
    fn check(&self, clone: &Path) -> Result<()> {
        // Until then blocks may be only promised.
        settle(self.dir)?;
        let length = |path: &Path| {
            fs::metadata(path)
                .map(|found| found.len())
                .with_context(|| format!("cannot look at {}", path.display()))
        };
        let same = length(clone)? == length(self.rootfs)?;
        let (data, wanted) = (data_in(clone)?, data_in(self.rootfs)?);
        ensure!(same && data <= wanted + (64 << 20), "{} is no clone", clone.display());
        Ok(())
    }
}

/// How much of a file takes blocks.
fn data_in(path: &Path) -> Result<u64> {
    let found = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(found.blocks() * 512)
}
