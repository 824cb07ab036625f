//! The verbs of `banger dns`.

use clap::Subcommand;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger dns status       who knows VMs' names, or what to do so that they do
  banger dns uninstall    have systemd-resolved forget about them, also after a restart
  banger dns install      have it ask for them again, as it does by default";

#[derive(Debug, Subcommand)]
pub(crate) enum DnsVerb {
    /// Show how VMs' names are answered for, and whether this host's programs know them
    Status,
    /// Have systemd-resolved ask the daemon for names under `vm`
    Install,
    /// Have it no longer ask, until it is installed again
    Uninstall,
}
