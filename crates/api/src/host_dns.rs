//! How the programs of the host come to know the names of VMs, as it is on the wire.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use utoipa::ToSchema;

/// Whether the programs of the host know the names of VMs, by way of the host's own resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostDnsStatus {
    /// How it stands.
    pub state: HostDnsState,
    /// The link whose settings in systemd-resolved say so.
    pub link: Option<String>,
    /// Why it is as it is, where that needs saying.
    pub problem: Option<String>,
    /// What can be done by hand where there is no systemd-resolved.
    pub recipe: Option<DnsRecipe>,
}

/// How it stands with the host's resolver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostDnsState {
    /// It is switched off.
    #[default]
    Off,
    /// systemd-resolved is there, and will be told with the first VM that runs.
    Waiting,
    /// systemd-resolved asks the daemon.
    Configured,
    /// There is no systemd-resolved.
    Absent,
    /// systemd-resolved does not take it; the daemon tries again.
    Failed,
}

/// A section of `docs/dns.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsRecipe {
    /// NetworkManager and a dnsmasq of its own.
    NetworkManager,
    /// A dnsmasq that runs.
    Dnsmasq,
    /// An unbound that runs.
    Unbound,
    /// Nothing but `/etc/resolv.conf`.
    ResolvConf,
}

impl DnsRecipe {
    /// What is to be done so that this server is asked for VMs' names, in one line.
    pub fn hint(self, server: SocketAddr) -> String {
        let (address, port) = (server.ip(), server.port());
        let line = format!("`server=/vm/{address}#{port}`");
        match self {
            Self::NetworkManager => format!(
                "have NetworkManager run dnsmasq, with {line} in \
                 /etc/NetworkManager/dnsmasq.d/banger.conf: docs/dns.md, \"{self}\""
            ),
            Self::Dnsmasq => format!(
                "put {line} into /etc/dnsmasq.d/banger.conf and restart dnsmasq: docs/dns.md, \
                 \"{self}\""
            ),
            Self::Unbound => format!(
                "put a `stub-zone` for `vm.` with `stub-addr: {address}@{port}` into \
                 /etc/unbound/unbound.conf.d/banger.conf: docs/dns.md, \"{self}\""
            ),
            Self::ResolvConf => format!(
                "/etc/resolv.conf can name neither a port nor a zone: install systemd-resolved, or \
                 dnsmasq with {line}: docs/dns.md, \"{self}\""
            ),
        }
    }
}

impl fmt::Display for DnsRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkManager => "NetworkManager",
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "unbound",
            Self::ResolvConf => "Only a resolv.conf",
        })
    }
}
