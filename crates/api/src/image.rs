//! Requests about the records of images.

use banger_core::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// A request for an image of files that stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterImage {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ImageName,
    /// Its root file system: ext4 without a partition table. An absolute path, as are all here.
    #[schema(value_type = String)]
    pub rootfs: PathBuf,
    /// Its kernel, an ELF `vmlinux`; the default image's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kernel: Option<PathBuf>,
    /// The archive of that kernel's modules; absent where it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub initrd: Option<PathBuf>,
    /// That kernel's module tree, `lib/modules/<release>`, to make such an archive of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub modules: Option<PathBuf>,
    /// Words that it adds to the kernel's command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_args: Vec<String>,
}

/// A request for another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameImage {
    /// The name that it gets.
    #[schema(value_type = String)]
    pub name: ImageName,
}
