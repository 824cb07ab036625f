//! What a VM boots from.

use crate::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The artifacts of an image, by absolute path. None of them is ever written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image's name.
    pub name: ImageName,
    /// An uncompressed ELF kernel (`vmlinux`).
    pub kernel: PathBuf,
    /// The archive of kernel modules, to which banger's init and the VM's configuration are
    /// appended.
    pub initrd: PathBuf,
    /// The root file system: ext4, without a partition table.
    pub rootfs: PathBuf,
    /// Words that the image adds to the kernel's command line.
    #[serde(default)]
    pub boot_args: Vec<String>,
}
