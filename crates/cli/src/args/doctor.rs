//! The arguments of `banger doctor`.

use banger_api::Scope;
use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger doctor            everything; fails when something does not work
  banger doctor vm         only what the start of a VM needs
  banger doctor network --fix
                           have Docker, ufw or firewalld let VMs' packets through
  banger doctor --leaks    only whether the records and the host agree";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only what concerns this: daemon, vm, nat, network, ssh, bundle, image, import, disk, growth, dns or
    /// leaks
    scope: Option<Scope>,
    /// Only whether what is on the host is what the records say, in both directions
    #[arg(long, conflicts_with = "scope")]
    leaks: bool,
    /// With `network`: have other firewalls let VMs' packets through, until --undo
    #[arg(long, requires = "scope", conflicts_with_all = ["leaks", "undo"])]
    fix: bool,
    /// With `network`: undo all that --fix did
    #[arg(long, requires = "scope", conflicts_with = "leaks")]
    undo: bool,
}

/// What to do about what is amiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing: it is only told.
    None,
    /// Mend it.
    Fix,
    /// Undo what mended it.
    Undo,
}

impl DoctorArgs {
    /// The one scope that is asked for, if it is one.
    pub(crate) fn scope(&self) -> Option<Scope> {
        if self.leaks { Some(Scope::Leaks) } else { self.scope }
    }

    /// What is to be done.
    pub(crate) fn remedy(&self) -> Remedy {
        match (self.fix, self.undo) {
            (true, _) => Remedy::Fix,
            (_, true) => Remedy::Undo,
            _ => Remedy::None,
        }
    }
}
