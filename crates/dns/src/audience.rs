//! Who is answered, and what they are told of names that are not ours.

use crate::forward::Forwarder;
use crate::respond::{Asker, Transport, fail};
use banger_core::net::Subnet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// Who a listener is for.
#[derive(Debug, Clone)]
pub enum Audience {
    /// The host: whoever reaches the listener. Its resolver asks us for our names alone, and other
    /// names are refused.
    Host,
    /// Guests: who has such an address, and nobody else. Those that the table allows it ask us for
    /// all names.
    Guests {
        /// The bridge's subnet.
        addresses: RangeInclusive<Ipv4Addr>,
        /// Who asks for names that are not ours.
        forwarder: Forwarder,
    },
}

impl Audience {
    /// The guests of a bridge.
    pub fn guests(subnet: Subnet, forwarder: Forwarder) -> Self {
        Self::Guests { addresses: subnet.network()..=subnet.broadcast(), forwarder }
    }

    /// Who somebody at the address is; `None` for who is not answered. An address of the subnet is
    /// a guest's, or the host's own: the firewall lets no guest use another's, and no packet from
    /// beyond comes back.
    pub(crate) fn asker(&self, address: IpAddr) -> Option<Asker> {
        match (self, address) {
            (Self::Host, _) => Some(Asker::Host),
            (Self::Guests { addresses, .. }, IpAddr::V4(address)) => {
                addresses.contains(&address).then(|| Asker::Guest(address.into()))
            }
            (Self::Guests { .. }, IpAddr::V6(_)) => None,
        }
    }

    /// Asks others; where none answers, the asker is told that.
    pub(crate) async fn ask_elsewhere(
        &self,
        query: &[u8],
        refusal: Vec<u8>,
        transport: Transport,
    ) -> Vec<u8> {
        let answer = match self {
            Self::Host => None,
            Self::Guests { forwarder, .. } => forwarder.ask(query, transport).await,
        };
        answer.unwrap_or_else(|| fail(refusal))
    }
}
