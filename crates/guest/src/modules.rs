//! Loading the kernel modules that the initrd carries.

use crate::path_error::{On, PathError};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A module that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModulesError {
    /// The list or a module file cannot be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A line of the list is not a file name.
    #[error("the initrd's list of modules names `{name}`, which is no file name")]
    Name {
        /// The line.
        name: String,
    },
    /// The kernel refused a module.
    #[error("the kernel does not load the module `{name}`")]
    Load {
        /// Its file name.
        name: String,
        /// Its reason; `Exec format error` means that it was built for another kernel.
        #[source]
        source: Errno,
    },
}

/// Loads the modules that `list` names, in its order, from `dir`. Without a list there is nothing to
/// load: the kernel has everything built in.
pub(crate) fn load_all(list: &Path, dir: &Path) -> Result<(), ModulesError> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.on("read the initrd's", list)?,
    };
    for path in parse_list(&text, dir)? {
        load(&path)?;
        crate::watchdog::progress();
    }
    Ok(())
}

fn parse_list(text: &str, dir: &Path) -> Result<Vec<PathBuf>, ModulesError> {
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty());
    names
        .map(|name| match name.contains('/') || name == ".." {
            true => Err(ModulesError::Name { name: name.to_owned() }),
            false => Ok(dir.join(name)),
        })
        .collect()
}

fn load(path: &Path) -> Result<(), ModulesError> {
    let file = File::open(path).on("read the module", path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        // Loaded before, or built in; or its hardware is not there, which the stages that need the
        // hardware will say better.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(source) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(ModulesError::Load { name, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_kept_in_order() {
        let paths = parse_list("virtio.ko\n\n  virtio_blk.ko \n", Path::new("/m")).unwrap();
        assert_eq!(paths, [Path::new("/m/virtio.ko"), Path::new("/m/virtio_blk.ko")]);
    }

    #[test]
    fn a_line_that_leads_elsewhere_is_refused() {
        let error = parse_list("../../etc/passwd", Path::new("/m")).unwrap_err();
        assert!(matches!(error, ModulesError::Name { .. }));
    }

    #[test]
    fn a_kernel_without_modules_needs_no_list() {
        let dir = tempfile::tempdir().unwrap();
        load_all(&dir.path().join("modules"), dir.path()).unwrap();
    }

    #[test]
    fn a_listed_module_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("modules");
        fs::write(&list, "virtio_blk.ko\n").unwrap();
        let error = load_all(&list, dir.path()).unwrap_err().to_string();
        assert!(error.contains("virtio_blk.ko"), "{error}");
    }
}
