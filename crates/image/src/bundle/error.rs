//! How opening and building a bundle fail.

use super::build::REQUIRED_PROGRAMS;
use super::manifest::{ArchiveOrigin, MANIFEST_VERSION, Manifest, Provenance};
use super::parts::{NamedBy, Role};
use crate::artifact::ArtifactError;
use crate::checksum::Checksum;
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
    #[error("the bundle's directory `{}`{} does not exist", dir.display(), named(named_by.as_ref()))]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
        /// Who names it, where it is not where it usually is.
        named_by: Option<NamedBy>,
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
    /// Nobody has filled the manifest in.
    #[error("`{}` is an empty template: it names no files", path.display())]
    Template {
        /// The file.
        path: PathBuf,
    },
    /// The manifest is of another time.
    #[error("`{}` has version {version}; this banger reads versions 1 to {MANIFEST_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        version: u32,
    },
    /// Files that are known to belong to the bundle are missing or cut short.
    #[error("the bundle `{}` is half unpacked: {}", dir.display(), faults.join(", "))]
    HalfUnpacked {
        /// The bundle's directory.
        dir: PathBuf,
        /// Each file with what it lacks.
        faults: Vec<String>,
        /// How to have all of them.
        mend: Mend,
    },
    /// A path leads nowhere.
    #[error("the {role} `{}`, which {named_by} names, does not exist", path.display())]
    Dangling {
        /// What it should be.
        role: Role,
        /// The path.
        path: PathBuf,
        /// Who names it.
        named_by: NamedBy,
        /// How to have it.
        mend: Mend,
    },
    /// A file of the bundle is of another kind.
    #[error("the bundle `{}` cannot be booted from", dir.display())]
    Artifact {
        /// The bundle's directory.
        dir: PathBuf,
        /// The file and what is wrong with it.
        #[source]
        source: ArtifactError,
        /// How to have a good one.
        mend: Mend,
    },
    /// A file that the configuration names is of another kind.
    #[error("cannot boot from what `{key}` in {origin} names")]
    Setting {
        /// The key.
        key: &'static str,
        /// Where it has its value from.
        origin: String,
        /// The file and what is wrong with it.
        #[source]
        source: ArtifactError,
    },
    /// The module tree is a file.
    #[error("the bundle's module tree `{}` is no directory", path.display())]
    NoModules {
        /// The path.
        path: PathBuf,
    },
    /// A file is longer than when it was built or unpacked.
    #[error("`{}` has {found} bytes, and had {wanted} when it was recorded", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its length when it was recorded.
        wanted: u64,
        /// Its length now.
        found: u64,
        /// How to have it as it was.
        mend: Mend,
    },
    /// A file has another content than when it was built or unpacked.
    #[error("`{}` has changed: its SHA-256 is {found}, and was {wanted}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its checksum when it was recorded.
        wanted: Checksum,
        /// Its checksum now.
        found: Checksum,
        /// How to have it as it was.
        mend: Mend,
    },
}

/// Who names something, in the middle of a sentence.
fn named(by: Option<&NamedBy>) -> String {
    by.map(|by| format!(", which {by} names,")).unwrap_or_default()
}

/// How to have the files of a bundle again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// It was built.
    Build,
    /// It was fetched from here.
    Fetch(ArchiveOrigin),
    /// It is not known where it came from.
    Unknown,
}

const BUILD: &str = "build a bundle with `banger bundle build`";

impl Mend {
    pub(super) fn of(manifest: &Manifest) -> Self {
        match &manifest.provenance {
            Some(Provenance { archive: Some(archive), .. }) => Self::Fetch(archive.clone()),
            Some(Provenance { suite: Some(_), .. }) => Self::Build,
            _ => Self::Unknown,
        }
    }

    fn hints(&self) -> Vec<String> {
        let again = match self {
            Self::Build => return vec![BUILD.to_owned()],
            Self::Fetch(ArchiveOrigin { from, sha256, .. }) => {
                format!(
                    "unpack it again with `banger bundle fetch --from {from} --sha256 {sha256}`"
                )
            }
            Self::Unknown => {
                "unpack its archive with `banger bundle fetch --from ARCHIVE`".to_owned()
            }
        };
        vec![again, format!("or {BUILD}")]
    }
}

impl Explain for BundleError {
    fn code(&self) -> ErrorCode {
        ErrorCode::BundleUnusable
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::HalfUnpacked { mend, .. }
            | Self::Artifact { mend, .. }
            | Self::WrongSize { mend, .. }
            | Self::Changed { mend, .. } => mend.hints(),
            Self::NoDirectory { named_by: Some(NamedBy::Setting { key, .. }), .. } => {
                let mut hints = Mend::Unknown.hints();
                hints.push(format!(
                    "or set `{key}` to a bundle that is there; then `banger daemon restart`"
                ));
                hints
            }
            Self::Dangling { named_by: NamedBy::Setting { key, .. }, .. }
            | Self::Setting { key, .. } => vec![format!(
                "set `{key}` to a file that can be used, or remove it; then `banger daemon restart`"
            )],
            Self::Dangling { mend, .. } => mend.hints(),
            Self::Version { .. } => {
                vec!["install the banger that wrote it".to_owned(), format!("or {BUILD}")]
            }
            _ => Mend::Unknown.hints(),
        }
    }
}

/// A bundle that could not be built. Nothing of it can be mistaken for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The build makes files of other users.
    #[error("building a bundle needs root, since the files of a root file system have owners")]
    NotRoot,
    /// Another build is at work.
    #[error("another build or fetch is at work in `{}`", dir.display())]
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
