//! The error of one step on one file, and the shortest way to make it.

use std::io;
use std::path::{Path, PathBuf};

/// Something that could not be done to a path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub(crate) struct PathError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Names the step and the path on an error of the system.
pub(crate) trait On<T> {
    /// `action` completes "cannot …".
    fn on(self, action: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> On<T> for Result<T, E> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|error| PathError { action, path: path.to_owned(), source: error.into() })
    }
}
