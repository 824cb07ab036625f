//! The arguments of `banger image customize`.

use super::value;
use banger_api::BuildImage;
use banger_core::unit::{MiB, VcpuCount};
use banger_core::vm_name::ImageName;
use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger image customize default --name dev
  banger image customize dev --name tools --size 16G
  banger image customize default --name dev --save < setup.sh

A temporary VM is booted and entered. What is done in the session is done to the new image, in `/root`
too. When the session ends, you are asked whether to save the image; until then, whatever ends this
command leaves nothing.";

#[derive(Debug, Args)]
pub(crate) struct CustomizeArgs {
    /// The name of the image to begin with
    #[arg(value_name = "IMAGE")]
    from: ImageName,
    /// The name of the new one
    #[arg(long)]
    pub(crate) name: ImageName,
    /// Save it without a question, if the session ends with exit code 0
    #[arg(long, conflicts_with = "discard")]
    pub(crate) save: bool,
    /// Discard it without a question
    #[arg(long)]
    pub(crate) discard: bool,
    /// The size of its root file system [default: that of the image to begin with]
    #[arg(long, value_name = "SIZE", value_parser = value::overlay)]
    size: Option<MiB>,
    /// Processors of the VM
    #[arg(long, value_name = "N", value_parser = value::vcpu)]
    vcpu: Option<VcpuCount>,
    /// Memory of the VM
    #[arg(long, value_name = "SIZE", value_parser = value::memory)]
    memory: Option<MiB>,
    /// Do not let the VM reach beyond the bridge
    #[arg(long)]
    no_nat: bool,
}

impl CustomizeArgs {
    pub(crate) fn request(&self) -> BuildImage {
        BuildImage {
            name: self.name.clone(),
            from: Some(self.from.clone()),
            package_file: None,
            packages: Vec::new(),
            size: self.size,
            modules: None,
            kernel: None,
            initrd: None,
            scripts: Vec::new(),
            copies: Vec::new(),
            vcpu: self.vcpu,
            memory: self.memory,
            nat: self.no_nat.then_some(false),
            by_hand: true,
            keep_on_failure: false,
        }
    }
}
