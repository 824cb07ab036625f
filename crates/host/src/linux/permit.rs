//! What lets guests' packets through firewalls of others.
//!
//! | gatekeeper | what is put there | its mark |
//! |---|---|---|
//! | iptables, either kind | rules before all others in `DOCKER-USER`, which leave Docker's networks to Docker, else in `FORWARD`, and in `INPUT` for DNS | a comment in each rule |
//! | firewalld | the bridge in the zone `trusted`, until firewalld reloads or starts anew | a file in the state directory, since zones bear none |
//!
//! An `accept` there undoes no `drop` of the instance's own tables, which go on saying what each guest
//! may do.

mod firewalld;
mod iptables;

use super::link;
use super::nftable::{self, Family};
use crate::cmd::find_program;
use crate::{Change, HostError};
use banger_core::names::{IfName, Layout};
use banger_core::resource::Gatekeeper;
use std::fs;
use std::io;
use std::net::SocketAddrV4;

/// Which tables iptables has as kernel modules, without loading one. The thread's own, because a
/// network namespace is a thread's.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// What is to be let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permit<'a> {
    pub(super) gatekeeper: Gatekeeper,
    /// The comment in each rule.
    pub(super) mark: &'a str,
    pub(super) bridge: &'a IfName,
    /// Where guests' DNS queries are answered, if that has to be let through.
    pub(super) dns: Option<SocketAddrV4>,
}

/// Has the gatekeeper let guests' packets through.
pub(super) fn ensure(permit: &Permit<'_>, layout: &Layout) -> Result<Change, HostError> {
    match permit.gatekeeper {
        Gatekeeper::Firewalld => firewalld::ensure(&layout.zone_file(), permit.bridge),
        Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy => iptables::ensure(permit),
    }
}

/// Takes it away again. A gatekeeper that is not there has nothing.
pub(super) fn remove(
    gatekeeper: Gatekeeper,
    mark: &str,
    layout: &Layout,
) -> Result<Change, HostError> {
    match gatekeeper {
        Gatekeeper::Firewalld => firewalld::remove(&layout.zone_file()),
        Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy => {
            if has_filter_table(gatekeeper)? {
                iptables::remove(gatekeeper, mark)
            } else {
                Ok(Change::Unchanged)
            }
        }
    }
}

/// The name of what is there for a gatekeeper, if anything is.
pub(super) fn find(gatekeeper: Gatekeeper, layout: &Layout) -> Result<Option<String>, HostError> {
    let mark = layout.bridge_alias();
    match gatekeeper {
        Gatekeeper::Firewalld => firewalld::find(&layout.zone_file()),
        Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy => {
            // Without its program nothing of banger's is there either, whoever made the table.
            let is_there = has_filter_table(gatekeeper)?
                && find_program(gatekeeper.program()).is_some()
                && iptables::is_there(gatekeeper, &mark)?;
            Ok(is_there.then_some(mark))
        }
    }
}

/// Whether that kind of iptables filters anything. Its program would make the table by asking.
pub(crate) fn has_filter_table(gatekeeper: Gatekeeper) -> Result<bool, HostError> {
    match gatekeeper {
        Gatekeeper::IptablesNft => match nftable::find(Family::Ip, "filter") {
            Ok(table) => Ok(table.is_some()),
            // Who may not look cannot have put anything there either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(HostError::io("look at the nft table", "ip filter")(error)),
        },
        Gatekeeper::IptablesLegacy => {
            let names = fs::read_to_string(LEGACY_TABLES).unwrap_or_default();
            Ok(names.lines().any(|name| name == "filter"))
        }
        Gatekeeper::Firewalld => Ok(false),
    }
}
