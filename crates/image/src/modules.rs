//! A kernel's module tree (`lib/modules/<release>`): which files to load for a driver, in order.
//!
//! `modules.dep` has one line per module, its file and those it needs; `modules.builtin` lists what
//! the kernel has in itself. Both are depmod's (modules.dep(5)). In names `-` and `_` are the same.

use crate::compression::{self, Format, UnpackError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest module that is unpacked.
const MAX_MODULE: usize = 64 << 20;

/// Why modules cannot be had from a tree.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file of the tree cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Neither a module nor built in.
    #[error("the kernel has no module `{name}`, nor is it built in")]
    Unknown {
        /// The module's name.
        name: String,
    },
    /// A line names a module that has none itself.
    #[error("`modules.dep` names `{file}` as needed, but has no line for it")]
    Dangling {
        /// The file that is needed.
        file: String,
    },
    /// A compressed module cannot be unpacked.
    #[error("the module `{}` cannot be unpacked", path.display())]
    Unpack {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: UnpackError,
    },
}

/// A module, ready to be loaded by the kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its file name, ending in `.ko`.
    pub file_name: String,
    /// The ELF object.
    pub content: Vec<u8>,
}

/// The module tree of one kernel.
#[derive(Debug)]
pub struct ModuleTree {
    dir: PathBuf,
    /// By name: the file, relative to `dir`, and the files that it needs.
    modules: BTreeMap<String, (String, Vec<String>)>,
    built_in: BTreeSet<String>,
}

impl ModuleTree {
    /// Reads the lists of a tree such as `/lib/modules/6.1.0-0-amd64`.
    ///
    /// # Errors
    ///
    /// When `modules.dep` cannot be read; depmod writes it. A missing `modules.builtin` means that
    /// nothing is built in.
    pub fn open(dir: &Path) -> Result<Self, ModulesError> {
        let dep = read_text(&dir.join("modules.dep"))?;
        let built_in = match read_text(&dir.join("modules.builtin")) {
            Err(ModulesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                String::new()
            }
            other => other?,
        };
        Ok(Self::parse(dir, &dep, &built_in))
    }

    fn parse(dir: &Path, dep: &str, built_in: &str) -> Self {
        let modules = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            Some((name_of(file), (file.to_owned(), needs)))
        });
        Self {
            dir: dir.to_owned(),
            modules: modules.collect(),
            built_in: built_in.lines().map(name_of).collect(),
        }
    }

    /// The files to load for the wanted modules, each after all that it needs and none twice, as
    /// paths relative to the tree. What is built in needs no file.
    ///
    /// # Errors
    ///
    /// When a wanted module is unknown to the kernel.
    pub fn resolve(&self, wanted: &[&str]) -> Result<Vec<&str>, ModulesError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            let name = name_of(name);
            if let Some((file, _)) = self.modules.get(&name) {
                self.visit(file, &mut seen, &mut order)?;
            } else if !self.built_in.contains(&name) {
                return Err(ModulesError::Unknown { name });
            }
        }
        Ok(order)
    }

    fn visit<'a>(
        &'a self,
        file: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<&'a str>,
    ) -> Result<(), ModulesError> {
        let name = name_of(file);
        let (file, needs) = self
            .modules
            .get(&name)
            .ok_or_else(|| ModulesError::Dangling { file: file.to_owned() })?;
        // Before what it needs, so that a circle ends.
        if seen.insert(name) {
            for need in needs {
                self.visit(need, seen, order)?;
            }
            order.push(file);
        }
        Ok(())
    }

    /// Reads one of the files that [`resolve`](Self::resolve) named. `finit_module` takes plain ELF,
    /// so a compressed file is unpacked.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or unpacked.
    pub fn read(&self, file: &str) -> Result<Module, ModulesError> {
        let path = self.dir.join(file);
        let bytes =
            fs::read(&path).map_err(|source| ModulesError::Read { path: path.clone(), source })?;
        let content = match Format::of(&bytes) {
            None => bytes,
            Some(format) => compression::unpack(format, &bytes, MAX_MODULE)
                .map_err(|source| ModulesError::Unpack { path: path.clone(), source })?,
        };
        let base = file.rsplit('/').next().unwrap_or(file);
        let stem = base.split(".ko").next().unwrap_or(base);
        Ok(Module { file_name: format!("{stem}.ko"), content })
    }
}

/// A module's name from its name or file: `kernel/net/foo-bar.ko.xz` is `foo_bar`.
fn name_of(file: &str) -> String {
    let base = file.trim().rsplit('/').next().unwrap_or_default();
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

fn read_text(path: &Path) -> Result<String, ModulesError> {
    fs::read_to_string(path).map_err(|source| ModulesError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::tests::pack;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/hw_random/virtio-rng.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
kernel/c.ko: kernel/gone.ko
";

    fn tree() -> ModuleTree {
        ModuleTree::parse(Path::new("/m"), DEP, "kernel/fs/ext4/ext4.ko\n")
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        assert_eq!(
            tree().resolve(&["virtio_blk", "virtio_rng", "ext4"]).unwrap(),
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/block/virtio_blk.ko",
                "kernel/drivers/char/hw_random/virtio-rng.ko.xz",
            ]
        );
    }

    #[test]
    fn hyphens_and_underscores_are_the_same() {
        assert_eq!(
            tree().resolve(&["virtio-rng"]).unwrap(),
            tree().resolve(&["virtio_rng"]).unwrap()
        );
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(tree().resolve(&["a"]).unwrap(), ["kernel/b.ko", "kernel/a.ko"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let unknown = tree().resolve(&["no-such"]).unwrap_err();
        assert!(matches!(unknown, ModulesError::Unknown { name } if name == "no_such"));
        let dangling = tree().resolve(&["c"]).unwrap_err();
        assert!(matches!(dangling, ModulesError::Dangling { file } if file == "kernel/gone.ko"));
    }

    #[test]
    fn compressed_modules_are_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        for (file, format) in
            [("a.ko.xz", Format::Xz), ("a.ko.zst", Format::Zstd), ("a.ko.gz", Format::Gzip)]
        {
            fs::write(dir.path().join(file), pack(format, b"\x7fELF module")).unwrap();
            let tree = ModuleTree::parse(dir.path(), "", "");
            let module = tree.read(file).unwrap();
            assert_eq!(
                module,
                Module { file_name: "a.ko".into(), content: b"\x7fELF module".into() }
            );
        }
    }
}
