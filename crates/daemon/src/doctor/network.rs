//! What stands between VMs and the world: other firewalls of the host, its routes, VPNs.

mod firewall;
mod way;

use super::Facts;
use crate::config::Key;
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;
use banger_core::resource::{DnsGate, Gatekeeper};
use banger_engine::Permission;
use banger_host::facts::{Concern, Fate, NetworkFacts, Rival};
use std::collections::BTreeMap;

const SCOPE: Scope = Scope::Network;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    let Some(network) = &facts.network else { return Vec::new() };
    let mut checks = vec![forwarding(facts, network)];
    checks.extend(firewall::examine(network));
    checks.extend(way::examine(network));
    checks.push(subnet(network).from(facts.origin(Key::Subnet)));
    checks
}

/// Whether VMs with NAT run on a host that forwards nothing.
pub fn is_forwarding_lost(facts: &Facts) -> bool {
    let is_off = |network: &NetworkFacts| network.forwarding == Some(false);
    facts.nat_guests > 0 && facts.network.as_ref().is_some_and(is_off)
}

/// What has to be asked of other firewalls so that VMs' packets pass.
pub fn permissions(facts: &Facts) -> Vec<Permission> {
    let gates = facts.network.iter().filter_map(|network| network.gates.as_ref().ok()).flatten();
    let mut refused: BTreeMap<Gatekeeper, DnsGate> = BTreeMap::new();
    for gate in gates.filter(|gate| gate.fate == Fate::Refused) {
        let Some(gatekeeper) = gate.gatekeeper else { continue };
        let dns = match gate.concern {
            Concern::Beyond => DnsGate::Open,
            Concern::Names => DnsGate::Closed,
        };
        let known = refused.entry(gatekeeper).or_insert(dns);
        *known = dns.max(*known);
    }
    let permission = |(gatekeeper, dns)| Permission { gatekeeper, dns };
    refused.into_iter().map(permission).collect()
}

/// A failure: VMs with NAT run, and reach nothing because of it.
fn broken(name: &str, found: impl Into<String>, hint: impl Into<String>) -> Check {
    Check::fail(SCOPE, name, ErrorCode::NetworkConflict, found, hint)
}

fn forwarding(facts: &Facts, network: &NetworkFacts) -> Check {
    let name = "forwarding";
    match (network.forwarding, facts.nat_guests) {
        (Some(true), _) => Check::pass(SCOPE, name, "the host forwards packets"),
        (Some(false), 0) => {
            Check::pass(SCOPE, name, "it is off, and is switched on with the first VM that has NAT")
        }
        (Some(false), _) => broken(
            name,
            "it is off, though VMs with NAT run: something has switched it off since",
            "`banger doctor network --fix` switches it on again; see which file in `/etc/sysctl.d` \
             says otherwise",
        ),
        (None, _) => Check::warn(
            SCOPE,
            name,
            "`/proc/sys/net/ipv4/ip_forward` cannot be read",
            "mount `/proc`",
        ),
    }
}

/// Whether the subnet is VMs' alone. Where a VPN or another network has it too, one of the two is
/// not reached.
fn subnet(network: &NetworkFacts) -> Check {
    let (bridge, subnet) = (&network.question.bridge, network.question.subnet);
    let elsewhere = network
        .ways
        .as_ref()
        .ok()
        .and_then(|ways| ways.home.as_ref()?.as_ref().ok())
        .filter(|hop| hop.link != bridge.as_str());
    let mut found: Vec<String> = elsewhere
        .map(|hop| format!("what the host sends to VMs in {subnet} leaves by `{}`", hop.link))
        .into_iter()
        .chain(network.rivals.iter().map(|rival| overlap(rival, network)))
        .collect();
    if found.is_empty() {
        return Check::pass(SCOPE, "subnet", format!("no other network has addresses of {subnet}"));
    }
    let hint = "set another `subnet` in the configuration file; a VM keeps the address that it has, \
                so make them anew";
    // A wider route is overridden by the bridge's own, and is merely hidden in part.
    let is_taken = network.rivals.iter().any(|rival| rival.prefix >= subnet.prefix());
    let first = found.remove(0);
    let mut check = if elsewhere.is_some() || is_taken {
        broken("subnet", first, hint)
    } else {
        Check::warn(SCOPE, "subnet", first, hint)
    };
    check.found.extend(found);
    check
}

fn overlap(rival: &Rival, network: &NetworkFacts) -> String {
    let Rival { to, prefix, link, table } = rival;
    let subnet = network.question.subnet;
    // The table that `ip route` shows (`RT_TABLE_MAIN` in linux/rtnetlink.h).
    let table = if *table == 254 { String::new() } else { format!(" in table {table}") };
    format!("{to}/{prefix} is routed to `{link}`{table}, and has addresses of {subnet}")
}

#[cfg(test)]
mod tests;
