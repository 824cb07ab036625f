//! What the network of VMs needs: nft, a kernel that filters bridges, and forwarding for NAT.

use super::Facts;
use crate::config::Key;
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;
use banger_host::facts::BRIDGE_FILTER_REMEDY;
use std::path::Path;

const SCOPE: Scope = Scope::Nat;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![nft(facts)];
    checks.extend(filter(facts));
    checks.push(forwarding(facts));
    checks
}

fn nft(facts: &Facts) -> Check {
    match &facts.host.nft {
        Some(path) => Check::pass(SCOPE, "nft", path.display().to_string()),
        None => Check::fail(
            SCOPE,
            "nft",
            ErrorCode::MissingDependency,
            "nftables is not installed: there is no program `nft`",
            facts.host.distribution.install(Path::new("nft")),
        ),
    }
}

fn filter(facts: &Facts) -> Option<Check> {
    Some(match facts.host.bridge_filter.as_ref()? {
        Ok(()) => Check::pass(SCOPE, "filter", "the kernel filters what crosses a bridge"),
        Err(reason) => Check::fail(
            SCOPE,
            "filter",
            ErrorCode::MissingDependency,
            format!("the kernel has no nftables filter for bridges: {reason}"),
            BRIDGE_FILTER_REMEDY,
        ),
    })
}

fn forwarding(facts: &Facts) -> Check {
    let check = match facts.host.forwarding {
        Some(true) => Check::pass(SCOPE, "forwarding", "the host forwards packets"),
        Some(false) => Check::pass(
            SCOPE,
            "forwarding",
            "it is off, and is switched on with the first VM that has NAT",
        ),
        None => Check::warn(
            SCOPE,
            "forwarding",
            "`/proc/sys/net/ipv4/ip_forward` cannot be read, so VMs with NAT may reach nothing",
            "mount `/proc`, or give VMs no NAT with `--no-nat`",
        ),
    };
    check.from(facts.origin(Key::Nat))
}
