//! How opening and building a bundle fail.

use super::build::REQUIRED_PROGRAMS;
use crate::artifact::ArtifactError;
use crate::initrd::InitrdError;
use crate::kernel::KernelError;
use banger_core::error::{ErrorCode, Explain};
use banger_host::cmd::CmdError;
use std::io;
use std::path::PathBuf;

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no such directory.
    #[error("the bundle's directory `{}` does not exist", dir.display())]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// Neither a manifest nor the legacy files.
    #[error("`{}` is no bundle: it has no `bundle.json`", dir.display())]
    NoManifest {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read `{}` of the bundle", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The manifest cannot be understood.
    #[error("`{}` is no manifest of a bundle", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is of another time.
    #[error("`{}` has version {version}; this banger reads version 1", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        version: u32,
    },
    /// A file that the manifest names is missing or of another kind.
    #[error("the bundle `{}` cannot be booted from", dir.display())]
    Artifact {
        /// The bundle's directory.
        dir: PathBuf,
        /// The file and what is wrong with it.
        #[source]
        source: ArtifactError,
    },
    /// The module tree that the manifest names is not there.
    #[error("the bundle's module tree `{}` is no directory", path.display())]
    NoModules {
        /// The directory.
        path: PathBuf,
    },
    /// A file is shorter or longer than when it was built.
    #[error("`{}` has {found} bytes; it was built with {wanted}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its length when it was built.
        wanted: u64,
        /// Its length now.
        found: u64,
    },
}

impl Explain for BundleError {
    fn code(&self) -> ErrorCode {
        ErrorCode::BundleUnusable
    }

    fn hints(&self) -> Vec<String> {
        vec!["build a bundle with `banger bundle build`".to_owned()]
    }
}

/// A bundle that could not be built. Nothing of it can be mistaken for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The build makes files of other users.
    #[error("building a bundle needs root, since the files of a root file system have owners")]
    NotRoot,
    /// Another build is at work.
    #[error("another build is at work in `{}`", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// A program failed.
    #[error("could not {action}")]
    Program {
        /// What was being attempted.
        action: &'static str,
        /// How the program ended.
        #[source]
        source: CmdError,
    },
    /// A file or directory could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was being attempted.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The package archive does not say which kernel is current.
    #[error("the package `{package}` names no kernel; its dependencies are:\n{answer}")]
    NoKernelPackage {
        /// The package that was asked about.
        package: String,
        /// The answer.
        answer: String,
    },
    /// The package has no kernel.
    #[error("the package `{package}` has no {what}")]
    PackageContent {
        /// The package.
        package: String,
        /// What was looked for.
        what: &'static str,
    },
    /// The kernel cannot be extracted.
    #[error("could not extract the kernel of `{package}`")]
    Kernel {
        /// The package.
        package: String,
        /// The reason.
        #[source]
        source: KernelError,
    },
    /// The initrd cannot be made.
    #[error("could not make the initrd")]
    Initrd(#[source] InitrdError),
    /// What was built cannot be opened; a defect.
    #[error("the bundle that was built cannot be used")]
    Unusable(#[source] BundleError),
}

impl Explain for BuildError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotRoot => ErrorCode::NotPermitted,
            Self::Program { source, .. } => match source.code() {
                ErrorCode::Host | ErrorCode::Timeout => ErrorCode::BundleUnusable,
                specific => specific,
            },
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
                io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
                _ => ErrorCode::BundleUnusable,
            },
            Self::Unusable(_) => ErrorCode::Internal,
            _ => ErrorCode::BundleUnusable,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NotRoot => "run it as root, for instance with `sudo`".to_owned(),
            Self::Busy { .. } => "wait until it has ended".to_owned(),
            Self::Program { source: CmdError::NotFound { program }, .. } => {
                let package = REQUIRED_PROGRAMS.iter().find(|(name, _)| program.ends_with(name));
                let package = package.map_or("that has it", |(_, package)| package);
                format!("install the Debian package {package}")
            }
            Self::Program { source: CmdError::Cancelled { .. }, .. } => return Vec::new(),
            Self::Program { source, .. } if self.code() != ErrorCode::BundleUnusable => {
                return source.hints();
            }
            Self::Program { .. } | Self::NoKernelPackage { .. } => {
                "check that the Debian archive can be reached, and run `apt-get update`".to_owned()
            }
            Self::Io { .. } if self.code() == ErrorCode::NoSpace => {
                "free 2 GiB of room in the bundle's directory".to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
