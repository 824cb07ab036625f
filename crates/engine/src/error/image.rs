//! Why an image cannot be had, made, renamed or deleted.

use super::list;
use banger_core::error::{ErrorCode, Explain};
use banger_core::reference::RefError;
use banger_core::vm_name::{ImageName, VmName};
use banger_image::artifact::ArtifactError;
use banger_image::initrd::InitrdError;
use std::path::PathBuf;

/// What is refused or fails about an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference names no image, or several.
    #[error(transparent)]
    Reference(#[from] RefError),
    /// There is no such image.
    #[error("there is no image called `{name}`")]
    Unknown {
        /// The name.
        name: ImageName,
    },
    /// Another image has the name.
    #[error("an image called `{name}` exists already")]
    NameTaken {
        /// The name.
        name: ImageName,
    },
    /// An image that another request makes will have the name.
    #[error("an image called `{name}` is being made by another request")]
    BeingMade {
        /// The name.
        name: ImageName,
    },
    /// Another request copies the image's files.
    #[error("the image `{name}` is being copied into managed storage by another request")]
    BeingCopied {
        /// The image.
        name: ImageName,
    },
    /// What was copied is no longer what the image is.
    #[error("the files of the image `{name}` are others than when their copy began")]
    Moved {
        /// The image.
        name: ImageName,
    },
    /// The image has a part of its files in managed storage.
    #[error("the initrd of the image `{name}` is in managed storage already")]
    HalfManaged {
        /// The image.
        name: ImageName,
        /// That file.
        initrd: PathBuf,
    },
    /// One of the image's files cannot be used.
    #[error("cannot use the image `{name}`")]
    Artifact {
        /// The image.
        name: ImageName,
        /// The file and what is wrong with it.
        #[source]
        source: ArtifactError,
    },
    /// The image boots with the default image's kernel, and that has none.
    #[error("the image `{name}` has no kernel, and there is no default image to lend it one")]
    NoKernel {
        /// The image.
        name: ImageName,
    },
    /// VMs were created from the image.
    #[error("the image `{name}` is in use by {}", list(.users))]
    InUse {
        /// The image.
        name: ImageName,
        /// The VMs.
        users: Vec<VmName>,
    },
    /// The image follows a bundle that is there.
    #[error("the image `{name}` is the runtime bundle's: it would be back at once")]
    Default {
        /// The image.
        name: ImageName,
    },
    /// A file of an image is named from a directory that the daemon does not know.
    #[error("`{}` is not an absolute path", .path.display())]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
    /// The modules of a kernel that is not there.
    #[error("an initrd was given without the kernel that its modules belong to")]
    InitrdAlone,
    /// An archive of modules, and a tree to make one of.
    #[error("both an initrd and modules to make one of were given")]
    TwoInitrds,
    /// A module tree of a kernel that is not there.
    #[error("modules were given without the kernel that they belong to")]
    ModulesAlone,
    /// The modules that a guest needs to boot cannot be had.
    #[error("cannot use the modules in `{}`", .path.display())]
    Modules {
        /// The tree.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: InitrdError,
    },
    /// The kernel would not see it as one word.
    #[error("`{}` is not one word of a kernel's command line", .word.escape_debug())]
    BootArg {
        /// What was given.
        word: String,
    },
}

impl Explain for ImageError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Reference(RefError::Ambiguous { .. }) => ErrorCode::AmbiguousReference,
            Self::Reference(RefError::Unknown { .. }) | Self::Unknown { .. } => {
                ErrorCode::ImageNotFound
            }
            Self::NameTaken { .. } | Self::BeingMade { .. } => ErrorCode::NameTaken,
            Self::InUse { .. } | Self::Default { .. } | Self::BeingCopied { .. } => {
                ErrorCode::ImageInUse
            }
            Self::Moved { .. } => ErrorCode::Interrupted,
            Self::Artifact { source, .. } => source.code(),
            Self::NoKernel { .. } | Self::Modules { .. } => ErrorCode::ImageUnusable,
            Self::RelativePath { .. }
            | Self::InitrdAlone
            | Self::ModulesAlone
            | Self::TwoInitrds
            | Self::HalfManaged { .. }
            | Self::BootArg { .. } => ErrorCode::InvalidRequest,
        }
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Artifact { source, .. } => return source.hints(),
            Self::Reference(RefError::Ambiguous { .. }) => {
                "give more of the name, or the whole id".to_owned()
            }
            Self::Reference(RefError::Unknown { nearest, .. }) if !nearest.is_empty() => {
                format!("did you mean `{}`?", nearest[0])
            }
            Self::Reference(RefError::Unknown { .. }) | Self::Unknown { .. } => {
                "`banger image list` shows all images".to_owned()
            }
            Self::NameTaken { name } => format!(
                "pick another name, or give that image one with `banger image rename {name} OTHER`"
            ),
            Self::BeingMade { .. } => "pick another name, or wait for that image".to_owned(),
            Self::NoKernel { .. } => "build the default image with `banger bundle build`, or \
                                      register the image with a kernel"
                .to_owned(),
            Self::InUse { users, .. } => {
                let users: Vec<&str> = users.iter().map(VmName::as_str).collect();
                format!("delete those VMs first: `banger vm delete {}`", users.join(" "))
            }
            Self::Default { .. } => "remove the bundle's directory first".to_owned(),
            Self::RelativePath { .. } => "begin the path with `/`".to_owned(),
            Self::InitrdAlone | Self::ModulesAlone => "name the kernel too".to_owned(),
            Self::Modules { .. } => {
                "give the directory `lib/modules/<release>` of the kernel, as depmod has left it"
                    .to_owned()
            }
            Self::TwoInitrds => "give one of them".to_owned(),
            Self::BeingCopied { .. } => "wait for that request".to_owned(),
            Self::Moved { .. } => "try it once more".to_owned(),
            Self::HalfManaged { initrd, .. } => format!(
                "register its files under another name with `--initrd {}`, and promote that",
                initrd.display()
            ),
            Self::BootArg { .. } => "give each word by itself".to_owned(),
        }]
    }
}
