//! Names inside of a tree, as archives write them.

use super::error::EntryError;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// `PATH_MAX` of Linux, less the final zero.
const MAX_PATH: usize = 4095;
/// `NAME_MAX` of ext4.
const MAX_NAME: usize = 255;

/// A relative path without `.` and `..`; empty for the root of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreePath(PathBuf);

impl TreePath {
    /// Checks a name from an archive.
    ///
    /// `/` alone is the root; any other absolute name is refused, since whoever wrote it meant the
    /// machine and not the tree.
    pub(crate) fn parse(name: &[u8]) -> Result<Self, EntryError> {
        if name.contains(&0) || name.len() > MAX_PATH {
            return Err(EntryError::Name);
        }
        let given = Path::new(OsStr::from_bytes(name));
        let mut path = PathBuf::new();
        for component in given.components() {
            match component {
                Component::Normal(part) if part.len() > MAX_NAME => return Err(EntryError::Name),
                Component::Normal(part) => path.push(part),
                Component::ParentDir => return Err(EntryError::Climbs),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if given.is_absolute() && !path.as_os_str().is_empty() {
            return Err(EntryError::Absolute);
        }
        Ok(Self(path))
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory and the name in it; `None` for the root.
    pub(crate) fn split(&self) -> Option<(Self, &OsStr)> {
        let name = self.0.file_name()?;
        let parent = self.0.parent().unwrap_or(Path::new(""));
        Some((Self(parent.to_owned()), name))
    }

    /// The path of something in this directory.
    pub(super) fn join(&self, name: &OsStr) -> Result<Self, EntryError> {
        let joined = self.0.join(name);
        Self::parse(joined.as_os_str().as_bytes())
    }

    /// Whether it lies in this top-level directory.
    pub(super) fn is_below(&self, directory: &str) -> bool {
        self.0.starts_with(directory) && self.0 != Path::new(directory)
    }
}

/// A name for messages.
pub(super) fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_ways_to_write_a_name_mean_the_same() {
        for name in ["etc/issue", "./etc/issue", "etc//issue", "etc/./issue/"] {
            let path = TreePath::parse(name.as_bytes()).unwrap();
            assert_eq!(path.as_path(), Path::new("etc/issue"), "{name}");
        }
        for root in ["", ".", "./", "/", "//"] {
            assert!(TreePath::parse(root.as_bytes()).unwrap().split().is_none(), "{root}");
        }
    }

    #[test]
    fn a_name_that_leaves_the_tree_is_refused() {
        for name in ["..", "../etc", "a/../../b", "a/..", "./..", "/../etc"] {
            assert!(matches!(TreePath::parse(name.as_bytes()), Err(EntryError::Climbs)), "{name}");
        }
        assert!(matches!(TreePath::parse(b"/etc/issue"), Err(EntryError::Absolute)));
        for name in [&b"a\0b"[..], &[b'x'; 256], &b"a/".repeat(2048)] {
            assert!(matches!(TreePath::parse(name), Err(EntryError::Name)));
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_only_plain_parts(name: Vec<u8>) {
            if let Ok(path) = TreePath::parse(&name) {
                let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
                prop_assert!(path.as_path().components().all(plain));
            }
        }
    }
}
