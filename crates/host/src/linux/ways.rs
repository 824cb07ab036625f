//! The ways of guests' packets through this host, as the kernel says them.

use super::netlink::{Link, Route, Traveller};
use crate::facts::{Hop, NetworkQuestion, Obstructed, Rival, Ways};
use netlink_packet_route::link::InfoKind;
use std::io;
use std::net::Ipv4Addr;

/// Somewhere beyond every network that a host is part of. Nothing is sent to it.
pub(crate) const BEYOND: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

/// The table with the host's own addresses (`RT_TABLE_LOCAL` in linux/rtnetlink.h).
const LOCAL: u32 = 255;

/// Asks the kernel for each way.
pub(crate) fn ways(question: &NetworkQuestion) -> io::Result<Ways> {
    let mut route = Route::open()?;
    let links = route.links()?;
    let bridge = links.iter().find(|link| link.name == question.bridge.as_str() && link.is_up);
    let mut ask = |traveller| hop(route.way(traveller), &links);
    let own = ask(Traveller { to: BEYOND, came: None });
    let guest = question.guest();
    let Some(bridge) = bridge else {
        return Ok(Ways { own, guests: None, answers: None, home: None });
    };
    let guests = ask(Traveller { to: BEYOND, came: Some((guest, bridge.index)) });
    let home = ask(Traveller { to: guest, came: None });
    let answers = guests.as_ref().ok().and_then(|hop| {
        let link = links.iter().find(|link| link.name == hop.link)?;
        Some(ask(Traveller { to: guest, came: Some((BEYOND, link.index)) }))
    });
    Ok(Ways { own, guests: Some(guests), answers, home: Some(home) })
}

/// The routes of others to where the subnet is.
pub(crate) fn rivals(question: &NetworkQuestion) -> io::Result<Vec<Rival>> {
    let mut route = Route::open()?;
    let links = route.links()?;
    let name = |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let mut rivals = Vec::new();
    for found in route.routes()? {
        let link = name(found.link).unwrap_or_else(|| format!("interface {}", found.link));
        let is_ours = link == question.bridge.as_str();
        if is_ours || found.table == LOCAL || !question.overlaps(found.to, found.prefix) {
            continue;
        }
        rivals.push(Rival { to: found.to, prefix: found.prefix, link, table: found.table });
    }
    Ok(rivals)
}

fn hop(answer: io::Result<u32>, links: &[Link]) -> Result<Hop, Obstructed> {
    let index = answer.map_err(|error| match error.raw_os_error() {
        // Newer kernels say EINVAL for whatever is dropped as it comes in, and that is this alone:
        // the addresses that are asked about are good ones.
        Some(libc::EXDEV | libc::EINVAL) => Obstructed::ReversePath,
        Some(libc::EHOSTUNREACH) => Obstructed::NotForwarded,
        Some(libc::ENETUNREACH) => Obstructed::NoRoute,
        _ => Obstructed::Other(error.to_string()),
    })?;
    let link = links.iter().find(|link| link.index == index);
    let what = link.and_then(|link| link.kind.as_ref()).and_then(|kind| match kind {
        InfoKind::Bond => Some("a bond"),
        InfoKind::Tun => Some("a TUN interface, as VPNs make them"),
        InfoKind::Wireguard => Some("a WireGuard interface"),
        _ => None,
    });
    let link = link.map_or_else(|| format!("interface {index}"), |link| link.name.clone());
    Ok(Hop { link, what })
}
