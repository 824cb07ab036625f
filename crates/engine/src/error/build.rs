//! Why an image cannot be built.

use super::{EngineError, list, said, see_why};
use banger_core::error::{ErrorCode, Explain};
use banger_core::id::OpId;
use banger_core::state::{Readiness, Request};
use banger_core::unit::{Bytes, MiB};
use banger_core::vm_name::{ImageName, VmName};
use banger_image::fsck::FsckError;
use banger_provision::{ListError, ProvisionError};
use std::path::PathBuf;

/// What is refused or fails when an image is built.
#[derive(Debug, thiserror::Error)]
pub enum ImageBuildError {
    /// A build that had begun failed. Nothing of it is left but its log, and the VM if it was to be
    /// kept.
    #[error("could not build the image `{name}`")]
    Failed {
        /// The image.
        name: ImageName,
        /// What failed.
        #[source]
        source: Box<EngineError>,
        /// The VM, if it was kept.
        kept: Option<KeptVm>,
        /// What the guest said.
        log_path: PathBuf,
    },
    /// The guest ended by itself.
    #[error("`{name}`, in which it was built, ended by itself: {reason}")]
    GuestEnded {
        /// The VM.
        name: VmName,
        /// What the guest or the VMM said.
        reason: String,
        /// The console's last lines.
        tail: Vec<String>,
    },
    /// The work in the guest failed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The guest left no sound file system.
    #[error(transparent)]
    Filesystem(#[from] FsckError),
    /// The guest did not come so far that it could be entered.
    #[error("the guest did not answer by ssh within {seconds} s; it reached `{reached}`")]
    NoSsh {
        /// The limit.
        seconds: u64,
        /// How far it came.
        reached: Readiness,
        /// The console's last lines.
        tail: Vec<String>,
    },
    /// A list of packages cannot be read.
    #[error("could not read the list of packages in `{}`", .path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ListError,
    },
    /// The image would not hold what it begins with.
    #[error("{given} cannot hold the root file system of `{base}`, which has {least}")]
    TooSmall {
        /// What was asked for.
        given: MiB,
        /// What it takes.
        least: Bytes,
        /// The image to begin with.
        base: ImageName,
    },
    /// The modules are those of other kernels.
    #[error("`{}` has {}, and the kernel {}", .path.display(), list(.releases),
        .kernel.as_deref().map_or_else(
            || "does not say which it is".to_owned(),
            |release| format!("is {release}"),
        ))]
    OtherModules {
        /// The tree.
        path: PathBuf,
        /// The kernel's release, where it says.
        kernel: Option<String>,
        /// What the tree has.
        releases: Vec<String>,
    },
    /// It was told to end.
    #[error("the build was cancelled")]
    Cancelled,
    /// Another request ended the VM that it was built in.
    #[error("another request ended `{name}`, in which it was built")]
    Ended {
        /// The VM.
        name: VmName,
    },
    /// Whoever was to work in it by hand is gone, and has not said to save it.
    #[error("its user has left without saving it")]
    Abandoned,
    /// A build has the VM to itself.
    #[error("cannot {} `{name}` while an image is made of it", .request.verb())]
    InTheMaking {
        /// The VM.
        name: VmName,
        /// What was asked.
        request: Request,
    },
    /// There is no such build.
    #[error("no build `{op}` is under way")]
    NotRunning {
        /// What was to be told something.
        op: OpId,
    },
    /// It waits for nobody.
    #[error("the build `{op}` does not wait for work by hand")]
    NotByHand {
        /// What was to be saved.
        op: OpId,
    },
}

/// The VM that a failed build has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVm {
    /// Its name.
    pub name: VmName,
    /// What has to be asked for before it can be entered.
    pub first: Option<Request>,
}

impl KeptVm {
    fn hint(&self) -> String {
        let name = &self.name;
        let enter = match self.first {
            None => format!("`banger vm ssh {name}` enters the guest"),
            Some(first) => {
                let verb = first.verb();
                format!("after `banger vm {verb} {name}`, `banger vm ssh {name}` enters the guest")
            }
        };
        format!("{enter}; `banger vm delete {name}` removes it")
    }
}

impl From<ProvisionError> for EngineError {
    fn from(error: ProvisionError) -> Self {
        ImageBuildError::from(error).into()
    }
}

impl Explain for ImageBuildError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Failed { source, .. } => source.code(),
            Self::Provision(source) => source.code(),
            Self::Filesystem(source) => source.code(),
            Self::GuestEnded { .. } => ErrorCode::GuestFailed,
            Self::NoSsh { .. } => ErrorCode::Timeout,
            Self::List { .. }
            | Self::TooSmall { .. }
            | Self::OtherModules { .. }
            | Self::NotRunning { .. }
            | Self::NotByHand { .. } => ErrorCode::InvalidRequest,
            Self::Cancelled | Self::Abandoned | Self::Ended { .. } => ErrorCode::Interrupted,
            Self::InTheMaking { .. } => ErrorCode::WrongState,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Failed { source, kept, .. } => {
                let mut hints = source.hints();
                hints.extend(kept.as_ref().map(KeptVm::hint));
                hints
            }
            Self::GuestEnded { name, tail, .. } => {
                said("the console", tail).into_iter().chain([see_why(name)]).collect()
            }
            Self::Provision(source) => {
                let mut hints = source.hints();
                hints.extend(said("the guest", source.tail()));
                hints
            }
            Self::Filesystem(source) => source.hints(),
            Self::NoSsh { tail, .. } => said("the console", tail).into_iter().collect(),
            Self::List { .. } => {
                vec!["write one name to a line; `#` begins a comment".to_owned()]
            }
            Self::TooSmall { .. } => vec!["give a larger `--size`, or none".to_owned()],
            Self::OtherModules { .. } => {
                vec![
                    "give the modules of the kernel, or its own archive with `--initrd`".to_owned(),
                ]
            }
            Self::InTheMaking { name, .. } => {
                vec![format!("wait until that is over, or end it with `banger vm delete {name}`")]
            }
            Self::Cancelled
            | Self::Abandoned
            | Self::Ended { .. }
            | Self::NotRunning { .. }
            | Self::NotByHand { .. } => Vec::new(),
        }
    }
}
