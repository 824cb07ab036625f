//! `banger image import`.

use super::value::absolute;
use banger_api::ImportImage;
use banger_core::unit::MiB;
use banger_core::vm_name::ImageName;
use clap::Args;
use std::io;
use std::path::PathBuf;

pub(crate) const IMPORT_EXAMPLES: &str = "\
The daemon reads the source, with its own rights. Entry point, environment and labels of a container
image are kept, and `banger image show` has them; a VM boots the image's init instead.

Examples:
  banger image import rootfs.tar.gz --name dev
  skopeo copy docker://debian:12 oci:layout:12 && banger image import layout --name debian
  docker save otter | gzip > otter.tar.gz && banger image import otter.tar.gz --name otter";

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A directory or archive with a root file system, an OCI image layout, or what `docker save` writes
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Its name
    #[arg(long)]
    pub(crate) name: ImageName,
    /// The size of its root file system, such as `4G` [default: its content and a quarter more]
    #[arg(long, value_name = "SIZE")]
    size: Option<MiB>,
    /// The most that may be unpacked [default: 64G]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<MiB>,
    /// Its kernel, a vmlinux or bzImage [default: the default image's]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The module tree of that kernel, lib/modules/<release>, where it needs any
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
}

impl ImportArgs {
    /// The request. The daemon may be in another directory, so paths are made absolute.
    pub(crate) fn request(&self) -> io::Result<ImportImage> {
        Ok(ImportImage {
            name: self.name.clone(),
            source: std::path::absolute(&self.source)?,
            kernel: absolute(self.kernel.as_ref())?,
            modules: absolute(self.modules.as_ref())?,
            size: self.size,
            max_size: self.max_size,
        })
    }
}
