//! Imports of a tree, and of an archive of it, by a daemon.

use super::tree::Tree;
use super::{Pair, fresh, remove};
use crate::bench::client::banger;
use crate::cmd::{Cmd, Cost};
use crate::daemon::{Daemon, Home};
use crate::workspace::{Profile, Workspace};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROUNDS: usize = 11;
/// The size of the root file system, in MiB, and how many inodes an import gives it.
const SIZE: u64 = 1024;
const INODES: u64 = 65536;
/// Where the daemon keeps its things: with all else, on the volume.
const DAEMON: &str = "bench-images/ext4/daemon";
const NAME: &str = "otter";
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Imports {
    pub(super) directory: Pair,
    pub(super) archive: Pair,
}

/// What is imported, and where others put it.
struct Source<'a> {
    tree: &'a Path,
    archive: PathBuf,
    /// Where it is unpacked, and the image.
    unpacked: PathBuf,
    image: PathBuf,
}

/// Measures.
pub(super) fn measure(workspace: &Workspace, tree: &Tree, dir: &Path) -> Result<Imports> {
    let [archive, unpacked, image] = ["tree.tar", "unpacked", "image"].map(|name| dir.join(name));
    Cmd::new("tar")
        .arg("-C")
        .arg(&tree.dir)
        .arg("-c")
        .arg("-f")
        .args([&archive])
        .arg(".")
        .silent()
        .run()?;
    let source = Source { tree: &tree.dir, archive, unpacked, image };
    let daemon = Daemon::start(Home::new(workspace, DAEMON, Profile::Release))?;
    let measured = rounds(&daemon, &source, dir);
    let stopped = daemon.stop();
    let imports = measured?;
    stopped?;
    remove(&source.archive)?;
    Ok(imports)
}

fn rounds(daemon: &Daemon, source: &Source<'_>, dir: &Path) -> Result<Imports> {
    let directory = Pair::measure(
        "importing a directory",
        ROUNDS,
        dir,
        || import(daemon, source.tree),
        || source.written(source.tree),
    )?;
    let archive = Pair::measure(
        "importing an archive",
        ROUNDS,
        dir,
        || import(daemon, &source.archive),
        || source.unpacked_and_written(),
    )?;
    Ok(Imports { directory, archive })
}

fn import(daemon: &Daemon, source: &Path) -> Result<Cost> {
    let import = banger(daemon).args(["image", "import", "--name", NAME, "--size"]);
    let cost = import.arg(format!("{SIZE}M")).arg(source).timeout(PATIENCE).measure()?;
    banger(daemon).args(["image", "delete", NAME]).read()?;
    Ok(cost)
}

impl Source<'_> {
    /// What an import asks of `mke2fs`, alone.
    fn written(&self, tree: &Path) -> Result<Cost> {
        let cost = Cmd::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", "banger-root", "-m", "0", "-b", "4096"])
            .args(["-E", "lazy_itable_init=1,lazy_journal_init=1", "-N"])
            .args([&INODES.to_string(), "-d"])
            .args([tree, &self.image])
            .arg(format!("{SIZE}M"))
            .timeout(PATIENCE)
            .measure()?;
        remove(&self.image)?;
        Ok(cost)
    }

    fn unpacked_and_written(&self) -> Result<Cost> {
        fresh(&self.unpacked)?;
        let unpack = Cmd::new("tar").arg("-C").arg(&self.unpacked).args(["-x", "-f"]);
        let unpacked = unpack.arg(&self.archive).timeout(PATIENCE).measure()?;
        let written = self.written(&self.unpacked)?;
        let removed = Cmd::new("rm").arg("-r").arg(&self.unpacked).timeout(PATIENCE).measure()?;
        Ok(unpacked + written + removed)
    }
}
