//! Which way the kernel sends a packet, and which routes it has.

use super::{Route, Verb};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;
use std::net::Ipv4Addr;

/// A packet whose way is asked for.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Traveller {
    pub(in super::super) to: Ipv4Addr,
    /// For a packet that comes in, who sent it and the interface that it comes in at.
    pub(in super::super) came: Option<(Ipv4Addr, u32)>,
}

/// An IPv4 route to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct NetworkRoute {
    pub(in super::super) to: Ipv4Addr,
    pub(in super::super) prefix: u8,
    pub(in super::super) link: u32,
    pub(in super::super) table: u32,
}

impl Route {
    /// The interface by which the packet leaves. Every rule is heeded that a real packet meets:
    /// policy routing, and for one that comes in reverse path filter and forwarding too.
    ///
    /// # Errors
    ///
    /// EXDEV where the reverse path filter drops it (EINVAL on Linux 6.18), EHOSTUNREACH where the
    /// interface forwards nothing, ENETUNREACH where there is no route (`inet_rtm_getroute`).
    pub(in super::super) fn way(&mut self, traveller: Traveller) -> io::Result<u32> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 32;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(traveller.to)));
        if let Some((from, link)) = traveller.came {
            message.header.source_prefix_length = 32;
            message.attributes.push(RouteAttribute::Source(RouteAddress::Inet(from)));
            message.attributes.push(RouteAttribute::Iif(link));
        }
        let answers = self.request(&RouteNetlinkMessage::GetRoute(message), Verb::Ask)?;
        let link = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => outgoing(&route),
            _ => None,
        });
        link.ok_or_else(|| io::Error::from_raw_os_error(libc::ENETUNREACH))
    }

    /// Every IPv4 route to a network, default routes and the host's own addresses left out.
    pub(in super::super) fn routes(&mut self) -> io::Result<Vec<NetworkRoute>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let answers = self.request(&RouteNetlinkMessage::GetRoute(message), Verb::Dump)?;
        Ok(answers.into_iter().filter_map(as_route).collect())
    }
}

fn outgoing(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(link) => Some(*link),
        _ => None,
    })
}

fn as_route(message: RouteNetlinkMessage) -> Option<NetworkRoute> {
    let RouteNetlinkMessage::NewRoute(route) = message else { return None };
    if route.header.kind != RouteType::Unicast || route.header.destination_prefix_length == 0 {
        return None;
    }
    let mut table = u32::from(route.header.table);
    let mut to = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(*address),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let link = outgoing(&route)?;
    Some(NetworkRoute { to: to?, prefix: route.header.destination_prefix_length, link, table })
}
