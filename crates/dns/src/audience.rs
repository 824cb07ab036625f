//! Who is answered, and what they are told of names that are not ours.

use crate::forward::Forwarder;
use crate::respond::{Reply, Transport, fail, offer_recursion};
use banger_core::net::Subnet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// Who a listener is for.
#[derive(Debug, Clone)]
pub enum Audience {
    /// The host: whoever reaches the listener. Its resolver asks us for our names alone, and other
    /// names are refused.
    Host,
    /// Guests: who has such an address, and nobody else. They ask us for all names.
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

    /// Whether somebody at the address is answered. An address of the subnet is a guest's, or the
    /// host's own: the firewall lets no guest use another's, and no packet from beyond comes back.
    pub(crate) fn admits(&self, asker: IpAddr) -> bool {
        match (self, asker) {
            (Self::Host, _) => true,
            (Self::Guests { addresses, .. }, IpAddr::V4(asker)) => addresses.contains(&asker),
            (Self::Guests { .. }, IpAddr::V6(_)) => false,
        }
    }

    /// What is sent at once; `Err` has what has to be asked for first, as the refusal that it
    /// would be.
    pub(crate) fn settle(&self, reply: Reply) -> Result<Vec<u8>, (Forwarder, Vec<u8>)> {
        match (self, reply) {
            (Self::Host, Reply::Answer(response) | Reply::Elsewhere(response)) => Ok(response),
            (Self::Guests { .. }, Reply::Answer(mut response)) => {
                offer_recursion(&mut response);
                Ok(response)
            }
            (Self::Guests { forwarder, .. }, Reply::Elsewhere(refusal)) => {
                Err((forwarder.clone(), refusal))
            }
        }
    }
}

/// Asks others; where none answers, the guest is told that.
pub(crate) async fn ask_elsewhere(
    (forwarder, mut refusal): (Forwarder, Vec<u8>),
    query: &[u8],
    transport: Transport,
) -> Vec<u8> {
    match forwarder.ask(query, transport).await {
        Some(answer) => answer,
        None => {
            offer_recursion(&mut refusal);
            fail(refusal)
        }
    }
}
