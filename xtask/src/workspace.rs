//! Where things are: the workspace and what xtask keeps below `target/`.

use std::path::{Path, PathBuf};

/// Where the workspace is on a machine that xtask was only copied to.
pub(crate) const ROOT: &str = "BANGER_XTASK_ROOT";

/// The cargo profile of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What the tests use.
    Debug,
    /// What a user would use.
    Release,
}

impl Profile {
    /// The name of its directory below `target/`.
    pub(crate) const fn dir(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// The workspace that xtask was built from.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace with the root directory.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The workspace of this source, or the part of it that the testbed's host has.
    pub(crate) fn of_this_source() -> Self {
        if let Some(root) = std::env::var_os(ROOT) {
            return Self::new(root.into());
        }
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::new(own.parent().unwrap_or(own).to_owned())
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |dir| self.root.join(dir))
    }

    /// A program that was built.
    pub(crate) fn program(&self, profile: Profile, name: &str) -> PathBuf {
        self.target().join(profile.dir()).join(name)
    }

    /// The runtime bundle that quickstart, the tests and the testbed share.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.target().join("bundle")
    }

    /// What a task keeps between its runs.
    pub(crate) fn scratch(&self, task: &str) -> PathBuf {
        self.target().join("xtask").join(task)
    }
}
