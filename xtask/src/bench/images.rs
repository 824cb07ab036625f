//! Cloning, importing and uploading beside the tools that one would take instead.
//!
//! ```text
//! trees ─► rootfs.ext4 ─┬─► clone example, by reflink    │ cp --reflink=always
//!   │                   └─► clone example, by copying    │ cp --sparse=always
//!   ├──────────────────────► banger image import ─ bangerd │ mke2fs -d
//!   ├─► tar ────────────────► banger image import ─ bangerd │ tar -x, mke2fs -d, rm -r
//!   └──────────────────────► upload example ─ sshd ◄──────│ tar -c | ssh
//! ```
//!
//! All are whole processes, and each pair goes in alternation, the other one first in every second
//! round. Before each the disk gets what was written until then, and what came of it is removed after,
//! neither of which is measured.

mod clone;
mod import;
mod report;
mod sshd;
mod tree;
mod upload;
mod volume;

pub(super) use report::render;

use super::sample::Samples;
use super::scratch::Scratch;
use crate::cmd::Cost;
use crate::interrupt;
use crate::packages::Package;
use crate::programs;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use clone::Clones;
use import::Imports;
use rustix::fs::syncfs;
use std::fs::{self, File};
use std::path::Path;
use tree::Tree;
use upload::Upload;
use volume::Volume;

/// What is needed beside the packages of every task.
pub(super) const PACKAGES: [Package; 3] = [
    ("btrfs-progs", "makes a file system that shares blocks, where the kernel has no XFS"),
    ("openssh-server", "takes what is uploaded, on the measurement's own loopback"),
    ("xfsprogs", "makes a file system that shares blocks"),
];

/// The programs that are measured, beside those of every task.
const EXAMPLES: [(&str, &str); 2] = [("banger-host", "clone"), ("banger-provision", "upload")];

const WARM_UP: usize = 1;
/// How much is imported and uploaded, and what fills the root file system up, in bytes.
const IMPORTED: u64 = 500 << 20;
const UPLOADED: u64 = 100 << 20;
const MORE: u64 = 400 << 20;

/// What was measured.
#[derive(Debug)]
pub(super) struct Images {
    /// The trees that are imported and uploaded.
    imported: Tree,
    uploaded: Tree,
    clones: Clones,
    imports: Imports,
    upload: Upload,
}

/// One thing, done by banger and by others, round by round.
#[derive(Debug, Default)]
struct Pair {
    ours: Side,
    theirs: Side,
}

/// What one of them took.
#[derive(Debug, Default)]
struct Side {
    wall: Samples,
    cpu: Samples,
}

/// Builds what is measured beside the programs of every task.
pub(super) fn build(workspace: &Workspace) -> Result<()> {
    programs::build_examples(workspace, &EXAMPLES)
}

/// Measures, in a network and a mount table of its own.
pub(super) fn measure(workspace: &Workspace) -> Result<Images> {
    let scratch = Scratch::new(workspace, "bench-images")?;
    let volume = Volume::ordinary(scratch.dir())?;
    let dir = volume.dir.as_path();
    eprintln!("writing trees of files");
    let trees = dir.join("trees");
    let imported = Tree::make(&trees.join("imported"), IMPORTED, 1)?;
    let uploaded = Tree::make(&trees.join("uploaded"), UPLOADED, 2)?;
    Tree::make(&trees.join("more"), MORE, 3)?;
    let clones = clone::measure(workspace, &trees, dir, scratch.dir())?;
    let imports = import::measure(workspace, &imported, dir)?;
    let upload = upload::measure(workspace, &uploaded, dir)?;
    Ok(Images { imported, uploaded, clones, imports, upload })
}

impl Pair {
    /// Measures both so many times, in alternation.
    fn measure(
        what: &str,
        rounds: usize,
        dir: &Path,
        mut ours: impl FnMut() -> Result<Cost>,
        mut theirs: impl FnMut() -> Result<Cost>,
    ) -> Result<Self> {
        let mut pair = Self::default();
        for round in 0..WARM_UP + rounds {
            if round == WARM_UP {
                pair = Self::default();
            }
            let Self { ours: our_side, theirs: their_side } = &mut pair;
            let mut order: [(&mut Side, &mut dyn FnMut() -> Result<Cost>); 2] =
                [(our_side, &mut ours), (their_side, &mut theirs)];
            if round % 2 == 1 {
                order.reverse();
            }
            for (side, go) in order {
                interrupt::check()?;
                settle(dir)?;
                side.add(go()?);
            }
        }
        eprintln!("{what}: {}", pair.ours.wall.ratios_to(&pair.theirs.wall));
        Ok(pair)
    }
}

impl Side {
    fn add(&mut self, cost: Cost) {
        self.wall.add(cost.wall);
        self.cpu.add(cost.cpu);
    }
}

/// Has the disk get all that waits for it, so that nobody pays for what another has written.
fn settle(dir: &Path) -> Result<()> {
    let settled = File::open(dir).map(|dir| syncfs(dir).map_err(std::io::Error::from));
    settled.flatten().with_context(|| format!("cannot sync {}", dir.display()))
}

/// Makes a directory of this name, empty.
fn fresh(path: &Path) -> Result<()> {
    remove(path)?;
    fs::create_dir(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Removes a file, or a directory with all that is in it, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::time::Duration;

    #[test]
    fn the_other_one_goes_first_in_every_second_round_and_warming_up_does_not_count() {
        let order = RefCell::new(String::new());
        let go = |who: char| {
            order.borrow_mut().push(who);
            Ok(Cost { wall: Duration::from_secs(1), cpu: Duration::ZERO })
        };
        // A file system that has nothing to write.
        let dir = Path::new("/proc");
        let pair = Pair::measure("nothing", 2, dir, || go('o'), || go('t')).unwrap();
        assert_eq!(order.into_inner(), "ottoot");
        assert_eq!((pair.ours.wall.count(), pair.theirs.cpu.count()), (2, 2));
    }
}
