//! What stands between guests and the world: other firewalls of the host, and its routes.
//!
//! ```text
//!   nft -j list ruleset ─┐
//!   iptables-nft -S      ├─► chains ─► walk: what becomes of a guest's packet ─► gates
//!   iptables-legacy -S  ─┘
//!   rtnetlink: which way would this packet go? ─► ways
//! ```
//!
//! Everything is read and nothing is sent. A rule that is not understood may do anything, so that the
//! answer is then "not clear" and never a guess.

mod gates;
mod iptables;
mod nft;
mod packet;
mod walk;

pub use gates::{Concern, Gate};
pub use walk::Fate;

pub(crate) use iptables::words as iptables_words;

use crate::linux;
use banger_core::names::{IfName, TableName};
use banger_core::net::Subnet;
use std::fs;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

/// Whose packets the question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkQuestion {
    /// The bridge that they come from.
    pub bridge: IfName,
    /// Its subnet.
    pub subnet: Subnet,
    /// The port of the bridge's address to which guests' DNS queries are turned, if they are.
    pub dns_port: Option<NonZeroU16>,
    /// The instance's own tables, which are not looked at.
    pub table: TableName,
}

impl NetworkQuestion {
    /// An address that a guest can have.
    pub(crate) fn guest(&self) -> Ipv4Addr {
        // The gateway is none of the two: a subnet has room for a guest beside it.
        let first = self.subnet.network().to_bits() + 1;
        let second = first + 1;
        let is_gateway = Ipv4Addr::from_bits(first) == self.subnet.gateway();
        Ipv4Addr::from_bits(if is_gateway { second } else { first })
    }

    /// Whether the subnet has an address in common with another network.
    pub(crate) fn overlaps(&self, network: Ipv4Addr, prefix: u8) -> bool {
        let shorter = u32::from(self.subnet.prefix().min(prefix));
        let mask = u32::MAX.checked_shl(32 - shorter).unwrap_or(0);
        (self.subnet.network().to_bits() ^ network.to_bits()) & mask == 0
    }
}

/// What stands between guests and the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Whose packets it is about.
    pub question: NetworkQuestion,
    /// Whether the host forwards packets.
    pub forwarding: Option<bool>,
    /// Every chain of others that a guest's packet meets; else why they cannot be read, as a clause.
    pub gates: Result<Vec<Gate>, String>,
    /// The ways of packets; else why they are not known, as a clause.
    pub ways: Result<Ways, String>,
    /// Routes of others into the subnet.
    pub rivals: Vec<Rival>,
}

/// Which interface a packet leaves by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The interface.
    pub link: String,
    /// What kind it is of, if that is worth telling: `a bond`.
    pub what: Option<&'static str>,
}

/// Why a packet leaves by no interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstructed {
    /// It came in where the host would not send the answer to.
    #[error("the reverse path filter drops it")]
    ReversePath,
    /// Where it comes in nothing is forwarded.
    #[error("the host forwards nothing that comes in there")]
    NotForwarded,
    /// No route leads there.
    #[error("there is no route")]
    NoRoute,
    /// The kernel's answer.
    #[error("{0}")]
    Other(String),
}

/// The ways of packets through the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// The host's own packets, to the world.
    pub own: Result<Hop, Obstructed>,
    /// A guest's, to the world; `None` while there is no bridge.
    pub guests: Option<Result<Hop, Obstructed>>,
    /// The answer to it; `None` if it does not get out.
    pub answers: Option<Result<Hop, Obstructed>>,
    /// The host's, to a guest; `None` while there is no bridge.
    pub home: Option<Result<Hop, Obstructed>>,
}

/// A route of somebody else's to where the subnet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// The network that it leads to.
    pub to: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// The interface that it leads by.
    pub link: String,
    /// The routing table that it is in.
    pub table: u32,
}

impl NetworkFacts {
    /// Looks at this host, and runs `nft`, `iptables-nft` and `iptables-legacy` where they matter.
    pub fn gather(question: NetworkQuestion) -> Self {
        let said = |error: std::io::Error| error.to_string();
        let ways = linux::ways(&question).map_err(said);
        let leaves = ways.as_ref().ok().and_then(|ways| {
            let hop = ways.guests.as_ref().unwrap_or(&ways.own);
            hop.as_ref().ok().map(|hop| hop.link.clone())
        });
        let rivals = linux::rivals(&question).unwrap_or_else(|error| {
            tracing::warn!(%error, "the routes cannot be listed");
            Vec::new()
        });
        let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
        Self {
            gates: gates::gather(&question, leaves.as_deref()),
            forwarding: forwarding.ok().map(|text| text.trim() != "0"),
            ways,
            rivals,
            question,
        }
    }

    /// A host on which nothing stands in the way.
    pub fn open(question: NetworkQuestion) -> Self {
        let hop = || Ok(Hop { link: "eth0".to_owned(), what: None });
        let home = Hop { link: question.bridge.to_string(), what: None };
        Self {
            forwarding: Some(true),
            gates: Ok(Vec::new()),
            ways: Ok(Ways {
                own: hop(),
                guests: Some(hop()),
                answers: Some(Ok(home.clone())),
                home: Some(Ok(home)),
            }),
            rivals: Vec::new(),
            question,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use banger_core::names::Layout;

    pub(crate) fn question() -> NetworkQuestion {
        let layout = Layout::new("/state".into(), "/run/b".into()).unwrap();
        NetworkQuestion {
            bridge: "banger0".to_owned().try_into().unwrap(),
            subnet: "172.16.0.1/24".parse().unwrap(),
            dns_port: NonZeroU16::new(42_069),
            table: layout.nft_table(),
        }
    }

    #[test]
    fn a_guest_is_not_the_gateway() {
        assert_eq!(question().guest(), Ipv4Addr::new(172, 16, 0, 2));
        let subnet = "172.16.0.9/24".parse().unwrap();
        let other = NetworkQuestion { subnet, ..question() };
        assert_eq!(other.guest(), Ipv4Addr::new(172, 16, 0, 1));
    }

    #[test]
    fn networks_overlap_by_the_shorter_prefix() {
        for (network, prefix, overlaps) in [
            ("172.16.0.0", 12, true),
            ("172.16.0.128", 25, true),
            ("172.16.0.0", 24, true),
            ("172.16.1.0", 24, false),
            ("10.0.0.0", 8, false),
        ] {
            let network: Ipv4Addr = network.parse().unwrap();
            assert_eq!(question().overlaps(network, prefix), overlaps, "{network}/{prefix}");
        }
    }
}
