//! What a request for an image that is to be built is made of.

use banger_core::unit::{MiB, VcpuCount};
use banger_core::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// A request for an image, built by booting one and working in it. All paths are absolute; the daemon
/// reads what they name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildImage {
    /// Its name.
    #[schema(value_type = String, example = "dev")]
    pub name: ImageName,
    /// The image to begin with; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<ImageName>,
    /// A file with names of packages; `#` begins a comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub package_file: Option<PathBuf>,
    /// Names of more packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// What its root file system measures, in MiB; as much as that of the image to begin with when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub size: Option<MiB>,
    /// A directory with kernel modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub modules: Option<PathBuf>,
    /// Its kernel, an ELF `vmlinux`, which its build boots too; that of the image to begin with when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kernel: Option<PathBuf>,
    /// The archive of the modules that this kernel needs to boot; when absent, it is made of `modules`,
    /// and where these are absent too, the kernel needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub initrd: Option<PathBuf>,
    /// Scripts to be run in the guest, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub scripts: Vec<PathBuf>,
    /// What is copied into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyIntoImage>,
    /// Virtual processors of the VM that it is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub vcpu: Option<VcpuCount>,
    /// Memory of that VM, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub memory: Option<MiB>,
    /// Whether that VM reaches beyond the bridge; it does when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<bool>,
    /// Whether its user works in that VM after everything else: the build says `enterable` then, and
    /// goes on when it is told to save. It ends when nobody reads its events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
    /// Whether that VM stays when something fails.
    #[serde(default)]
    pub keep_on_failure: bool,
}

/// Something that is copied into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyIntoImage {
    /// A file or a directory.
    #[schema(value_type = String)]
    pub from: PathBuf,
    /// Its place in the image: a file's own path, or with `/` at the end the directory that it goes
    /// into; of a directory, where what is in it goes.
    #[schema(example = "/opt/tools/")]
    pub to: String,
}
