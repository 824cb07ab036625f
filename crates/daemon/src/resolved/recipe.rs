//! Which of the recipes in docs/dns.md fits a host without systemd-resolved.

use banger_api::DnsRecipe;
use banger_core::net::Protocol;
use banger_host::port_holder;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// By what a host's resolver is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// NetworkManager runs.
    pub network_manager: bool,
    /// It runs a dnsmasq of its own.
    pub its_dnsmasq: bool,
    /// The program that answers at the loopback address.
    pub answers: Option<String>,
}

impl Signs {
    /// Looks at this host.
    pub fn look() -> Self {
        let there = |path: &str| Path::new(path).exists();
        let port_53 = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        Self {
            network_manager: there("/run/NetworkManager"),
            its_dnsmasq: there("/run/NetworkManager/dnsmasq.pid"),
            answers: port_holder(&[Protocol::Udp, Protocol::Tcp], port_53)
                .map(|holder| holder.program),
        }
    }
}

/// The recipe. A server that the user has set up comes before NetworkManager, which then only writes
/// its address into resolv.conf.
pub fn recipe(signs: &Signs) -> DnsRecipe {
    match signs.answers.as_deref() {
        _ if signs.its_dnsmasq => DnsRecipe::NetworkManager,
        Some("dnsmasq") => DnsRecipe::Dnsmasq,
        Some("unbound") => DnsRecipe::Unbound,
        _ if signs.network_manager => DnsRecipe::NetworkManager,
        _ => DnsRecipe::ResolvConf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_on_the_host_decides() {
        let of = |network_manager, its_dnsmasq, answers: Option<&str>| {
            recipe(&Signs { network_manager, its_dnsmasq, answers: answers.map(str::to_owned) })
        };
        assert_eq!(of(false, false, None), DnsRecipe::ResolvConf);
        assert_eq!(of(false, false, Some("named")), DnsRecipe::ResolvConf);
        assert_eq!(of(false, false, Some("dnsmasq")), DnsRecipe::Dnsmasq);
        assert_eq!(of(true, false, Some("unbound")), DnsRecipe::Unbound);
        assert_eq!(of(true, true, Some("dnsmasq")), DnsRecipe::NetworkManager);
        assert_eq!(of(true, false, None), DnsRecipe::NetworkManager);
    }
}
