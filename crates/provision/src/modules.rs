//! A tree of kernel modules on the host: which releases it is for.

use crate::error::ModulesError;
use std::fs;
use std::path::{Path, PathBuf};

/// What a release's directory has when it is one (depmod(8)).
const MARKS: [&str; 5] = ["kernel", "modules.builtin", "modules.dep", "modules.order", "updates"];

/// The directory of a release, and where a larger tree has it.
const BELOW: [&str; 3] = ["", "lib/modules", "usr/lib/modules"];

/// Kernel modules, by the release of the kernel that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModulesTree {
    /// As it was given.
    pub path: PathBuf,
    /// Each release with its directory, sorted.
    pub releases: Vec<(String, PathBuf)>,
}

impl ModulesTree {
    /// Looks at a directory: the one of a release itself, one that holds such, or a root that has
    /// them in `lib/modules`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds no modules.
    pub fn open(path: &Path) -> Result<Self, ModulesError> {
        let read = |source| ModulesError::Read { path: path.to_owned(), source };
        let found = |releases| Ok(Self { path: path.to_owned(), releases });
        if is_release(path) {
            let path = path.canonicalize().map_err(read)?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            return match is_name(name) {
                true => found(vec![(name.to_owned(), path.clone())]),
                false => Err(ModulesError::Name { path }),
            };
        }
        for below in BELOW {
            let dir = path.join(below);
            if !below.is_empty() && !dir.is_dir() {
                continue;
            }
            let mut releases = Vec::new();
            for entry in fs::read_dir(&dir).map_err(read)? {
                let (name, path) = entry.map(|e| (e.file_name(), e.path())).map_err(read)?;
                match name.to_str() {
                    Some(name) if is_name(name) && is_release(&path) => {
                        releases.push((name.to_owned(), path));
                    }
                    _ => {}
                }
            }
            if !releases.is_empty() {
                releases.sort();
                return found(releases);
            }
        }
        Err(ModulesError::Empty { path: path.to_owned() })
    }
}

fn is_release(dir: &Path) -> bool {
    MARKS.iter().any(|mark| dir.join(mark).exists())
}

/// A release as `uname -r` prints it, which begins with the kernel's version.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._~".contains(&b);
    name.bytes().next().is_some_and(|b| b.is_ascii_digit()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dirs: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        dirs.iter().for_each(|dir| fs::create_dir_all(tree.path().join(dir)).unwrap());
        tree
    }

    fn releases(path: &Path) -> Vec<String> {
        ModulesTree::open(path).unwrap().releases.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn releases_are_found_at_each_depth() {
        let root = tree(&["lib/modules/6.1.0-1-amd64/kernel", "lib/modules/6.9.2/updates", "etc"]);
        assert_eq!(releases(root.path()), ["6.1.0-1-amd64", "6.9.2"]);
        assert_eq!(releases(&root.path().join("lib/modules")), ["6.1.0-1-amd64", "6.9.2"]);
        assert_eq!(releases(&root.path().join("lib/modules/6.9.2")), ["6.9.2"]);
    }

    #[test]
    fn what_has_no_modules_says_so() {
        let root = tree(&["lib/modules/6.1.0", "not-a-release/kernel"]);
        let refused = ModulesTree::open(root.path()).unwrap_err();
        assert!(matches!(refused, ModulesError::Empty { .. }), "{refused:?}");
        let refused = ModulesTree::open(&root.path().join("not-a-release")).unwrap_err();
        assert!(matches!(refused, ModulesError::Name { .. }), "{refused:?}");
        let refused = ModulesTree::open(&root.path().join("nothing")).unwrap_err();
        assert!(matches!(refused, ModulesError::Read { .. }), "{refused:?}");
    }
}
