//! The arguments of `banger image build`.

use super::value::{self, absolute};
use banger_api::{BuildImage, CopyIntoImage};
use banger_core::unit::{MiB, VcpuCount};
use banger_core::vm_name::ImageName;
use clap::Args;
use std::io;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger image build --name dev --package git --package build-essential
  banger image build --name dev --packages packages.txt --size 16G --script setup.sh
  banger image build --name tools --from dev --copy ./bin:/usr/local/bin

Ctrl-C ends the build; nothing of it is left but its log.";

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Its name
    #[arg(long)]
    pub(crate) name: ImageName,
    /// The image to begin with [default: the default image]
    #[arg(long, value_name = "IMAGE")]
    from: Option<ImageName>,
    /// A file with names of packages to be installed; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    packages: Option<PathBuf>,
    /// A package to be installed; can be given several times
    #[arg(long = "package", value_name = "NAME")]
    package: Vec<String>,
    /// The size of its root file system [default: that of the image to begin with]
    #[arg(long, value_name = "SIZE", value_parser = value::overlay)]
    size: Option<MiB>,
    /// A directory with kernel modules to be installed
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Its kernel, an ELF vmlinux [default: that of the image to begin with]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The archive of the modules that it needs to boot [default: made of those in --modules]
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// A script to be run in the guest; can be given several times
    #[arg(long = "script", value_name = "FILE")]
    scripts: Vec<PathBuf>,
    /// A file or directory and its place in the image; can be given several times
    #[arg(long = "copy", value_name = "HOST:GUEST", value_parser = copy)]
    copies: Vec<CopyIntoImage>,
    /// Processors of the VM that it is built in
    #[arg(long, value_name = "N", value_parser = value::vcpu)]
    vcpu: Option<VcpuCount>,
    /// Memory of that VM
    #[arg(long, value_name = "SIZE", value_parser = value::memory)]
    memory: Option<MiB>,
    /// Do not let that VM reach beyond the bridge
    #[arg(long)]
    no_nat: bool,
    /// Keep that VM when something fails, to look into it
    #[arg(long)]
    pub(crate) keep_on_failure: bool,
}

impl BuildArgs {
    /// The request. The daemon may be in another directory, so paths are made absolute.
    pub(crate) fn request(&self) -> io::Result<BuildImage> {
        let copies = self.copies.iter().map(|copy| {
            Ok(CopyIntoImage { from: std::path::absolute(&copy.from)?, to: copy.to.clone() })
        });
        Ok(BuildImage {
            name: self.name.clone(),
            from: self.from.clone(),
            package_file: absolute(self.packages.as_ref())?,
            packages: self.package.clone(),
            size: self.size,
            modules: absolute(self.modules.as_ref())?,
            kernel: absolute(self.kernel.as_ref())?,
            initrd: absolute(self.initrd.as_ref())?,
            scripts: self.scripts.iter().map(std::path::absolute).collect::<io::Result<_>>()?,
            copies: copies.collect::<io::Result<_>>()?,
            vcpu: self.vcpu,
            memory: self.memory,
            nat: self.no_nat.then_some(false),
            by_hand: false,
            keep_on_failure: self.keep_on_failure,
        })
    }
}

/// The place in the guest is an absolute path, so the last `:/` is where the two meet.
fn copy(text: &str) -> Result<CopyIntoImage, String> {
    let wrong =
        || format!("`{text}` is not a path and a place in the image, as in `./bin:/opt/bin`");
    let at = text.rfind(":/").filter(|at| *at > 0).ok_or_else(wrong)?;
    Ok(CopyIntoImage { from: PathBuf::from(&text[..at]), to: text[at + 1..].to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_a_path_and_a_place() {
        let read = copy("./a:b/c:/opt/x/").unwrap();
        assert_eq!((read.from.to_str(), read.to.as_str()), (Some("./a:b/c"), "/opt/x/"));
        for text in ["", ":/a", "a", "a:b", "a:"] {
            assert!(copy(text).unwrap_err().contains("as in"), "{text}");
        }
    }
}
