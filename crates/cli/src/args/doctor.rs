//! The arguments of `banger doctor`.

use banger_api::Scope;
use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger doctor            everything; fails when something does not work
  banger doctor vm         only what the start of a VM needs
  banger doctor --leaks    only whether the records and the host agree";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only what concerns this: daemon, vm, nat, network, ssh, bundle, image, disk, dns or leaks
    scope: Option<Scope>,
    /// Only whether what is on the host is what the records say, in both directions
    #[arg(long, conflicts_with = "scope")]
    leaks: bool,
}

impl DoctorArgs {
    /// The one scope that is asked for, if it is one.
    pub(crate) fn scope(&self) -> Option<Scope> {
        if self.leaks { Some(Scope::Leaks) } else { self.scope }
    }
}
