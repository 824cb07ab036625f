//! The arguments of `banger ssh-config`.

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger ssh-config                print the lines; nothing is changed
  banger ssh-config --install      include them in ~/.ssh/config
  ssh otter.vm                     what that is for
  banger ssh-config --uninstall    ~/.ssh/config as it was before";

#[derive(Debug, Args)]
pub(crate) struct SshConfigArgs {
    /// Include them in ~/.ssh/config, between two markers at its top
    #[arg(long, conflicts_with = "uninstall")]
    pub(crate) install: bool,
    /// Take that out of ~/.ssh/config again; everything else in it stays as it is
    #[arg(long)]
    pub(crate) uninstall: bool,
}
