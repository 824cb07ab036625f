//! The verbs of `banger image`.

use super::import::{IMPORT_EXAMPLES, ImportArgs};
use super::value::absolute;
use super::{BuildArgs, CustomizeArgs, value};
use banger_api::RegisterImage;
use banger_core::vm_name::ImageName;
use clap::{Args, Subcommand};
use std::io;
use std::path::PathBuf;

const REGISTER_EXAMPLES: &str = "\
Examples:
  banger image register --name dev --rootfs dev.ext4
  banger image register --name own --rootfs own.ext4 --kernel vmlinux --initrd modules.cpio";

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// List the images
    #[command(visible_alias = "ls")]
    List,
    /// Show everything about images
    Show(ImageRefsArgs),
    /// Build an image by booting one and working in it
    #[command(after_help = super::image_build::EXAMPLES)]
    Build(BuildArgs),
    /// Make an image by working in another one by hand
    #[command(after_help = super::customize::EXAMPLES)]
    Customize(CustomizeArgs),
    /// Make an image of files that stay where they are
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(RegisterArgs),
    /// Make an image of a directory, an archive or a container image
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Copy an image's files into banger's own storage
    Promote(PromoteArgs),
    /// Give an image another name
    Rename(RenameArgs),
    /// Remove images that no VM uses; registered files stay
    #[command(visible_alias = "rm")]
    Delete(ImageRefsArgs),
}

/// One image or several.
#[derive(Debug, Args)]
pub(crate) struct ImageRefsArgs {
    /// Names or ids, or unique beginnings of them
    #[arg(value_name = "IMAGE", required = true, value_parser = value::image_reference)]
    pub(crate) refs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Its name
    #[arg(long)]
    pub(crate) name: ImageName,
    /// Its root file system: ext4 without a partition table
    #[arg(long, value_name = "FILE")]
    rootfs: PathBuf,
    /// Its kernel, an ELF vmlinux [default: the default image's]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The archive of the kernel's modules, where it needs any
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The module tree of the kernel, lib/modules/<release>, to make that archive of
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with = "initrd")]
    modules: Option<PathBuf>,
    /// A word for the kernel's command line; can be given several times
    #[arg(long = "boot-arg", value_name = "WORD", allow_hyphen_values = true)]
    boot_args: Vec<String>,
}

impl RegisterArgs {
    /// The request. The daemon may be in another directory, so paths are made absolute.
    pub(crate) fn request(&self) -> io::Result<RegisterImage> {
        Ok(RegisterImage {
            name: self.name.clone(),
            rootfs: std::path::absolute(&self.rootfs)?,
            kernel: absolute(self.kernel.as_ref())?,
            initrd: absolute(self.initrd.as_ref())?,
            modules: absolute(self.modules.as_ref())?,
            boot_args: self.boot_args.clone(),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The image: its name or id, or a unique beginning of one
    #[arg(value_name = "IMAGE", value_parser = value::image_reference)]
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The image: its name or id, or a unique beginning of one
    #[arg(value_name = "IMAGE", value_parser = value::image_reference)]
    pub(crate) image: String,
    /// The name that it gets
    pub(crate) name: ImageName,
}
