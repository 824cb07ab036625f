//! Imports of archives that are made here, honest and hostile.

mod archive;
mod hostile;
mod images;
mod layers;
mod whole;

use super::budget::{Budget, Limits};
use super::error::ImportError;
use super::tree::Tree;
use super::unpack::{LeftOut, Names, Unpacker};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A directory to unpack into, with something beside it that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/victim"), "untouched").unwrap();
        Self { dir }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// Unpacks layers, the lowest first.
    fn unpack_with(&self, layers: &[Vec<u8>], names: Names, limits: Limits) -> Outcome {
        let never = AtomicBool::new(false);
        let budget = Budget::new(limits, &never);
        let mut unpacker = Unpacker::new(Tree::open(&self.tree()).unwrap(), names, &budget);
        for (number, layer) in layers.iter().enumerate() {
            if number > 0 {
                unpacker.begin_layer();
            }
            unpacker.unpack("layer", layer.as_slice())?;
        }
        Ok(unpacker.finish().unwrap())
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Outcome {
        self.unpack_with(layers, Names::WithWhiteouts, Limits::default())
    }

    /// That nothing was written beside the tree.
    fn assert_outside_untouched(&self) {
        assert_eq!(names_in(self.dir.path()), ["outside", "tree"]);
        assert_eq!(names_in(&self.outside()), ["victim"]);
        let victim = self.outside().join("victim");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(victim.metadata().unwrap().nlink(), 1, "it has another name now");
    }
}

type Outcome = Result<LeftOut, ImportError>;

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
