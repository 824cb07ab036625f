//! Interfaces: the instance's bridge and the VMs' TAPs.
//!
//! The bridge is known by its alias. The kernel takes an alias only for an interface that exists
//! (`rtnl_create_link` in Linux 6.x ignores it), so a crash could leave a bridge without one; its
//! hardware address, set as it is created and derived from the alias, tells that it is ours. That
//! address is also what keeps the guests' ARP caches right: a bridge without one of its own takes a
//! port's and changes it as ports come and go.

use super::ioctl;
use super::netlink::{Address, Link, Route, is_absent};
use super::nftable::fingerprint;
use crate::{Change, HostError};
use banger_core::names::IfName;
use banger_core::net::Subnet;
use netlink_packet_route::link::{InfoKind, LinkAttribute};
use std::fs::{self, OpenOptions};
use std::io;
use std::net::Ipv4Addr;

const TUN: &str = "/dev/net/tun";

/// Makes the bridge, up, with the subnet's gateway as its only IPv4 address.
pub(super) fn ensure_bridge(
    name: &IfName,
    subnet: Subnet,
    alias: &str,
) -> Result<Change, HostError> {
    let mut route = open_route(name)?;
    let failed = |action| HostError::io(action, name);
    let found = find_own_bridge(&mut route, name, alias)?;
    let index = found.as_ref().map(|link| link.index);
    let addresses = route.addresses().map_err(failed("list the addresses for"))?;
    let wanted =
        |address: &Address| address.ip == subnet.gateway() && address.prefix == subnet.prefix();
    let (own, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| Some(address.index) == index);
    if let Some(link) = &found
        && link.is_up
        && link.alias.as_deref() == Some(alias)
        && matches!(own.as_slice(), [only] if wanted(only))
    {
        return Ok(Change::Unchanged);
    }
    refuse_overlap(&mut route, subnet, &others)?;
    let link = match found {
        Some(link) => link,
        None => create_bridge(&mut route, name, alias)?,
    };
    if link.alias.as_deref() != Some(alias) {
        route.set_alias(link.index, alias).map_err(failed("mark"))?;
    }
    for stale in own.iter().filter(|address| !wanted(address)) {
        route.delete_address(*stale).map_err(failed("take an old address from"))?;
    }
    let gateway = Address { index: link.index, ip: subnet.gateway(), prefix: subnet.prefix() };
    match route.add_address(gateway, subnet.broadcast()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("give an address to")(error));
        }
        _ => {}
    }
    disable_ipv6(name);
    route.set_up(link.index, Vec::new()).map_err(failed("bring up"))?;
    Ok(Change::Changed)
}

/// Removes the bridge if it is this instance's. TAPs on it stay, without a bridge.
pub(super) fn remove_bridge(name: &IfName, alias: &str) -> Result<Change, HostError> {
    let mut route = open_route(name)?;
    match find_own_bridge(&mut route, name, alias)? {
        Some(link) => delete(&mut route, &link, name),
        None => Ok(Change::Unchanged),
    }
}

/// Makes the TAP, up, on the bridge.
pub(super) fn ensure_tap(name: &IfName, bridge: &IfName) -> Result<Change, HostError> {
    let mut route = open_route(name)?;
    let failed = |action| HostError::io(action, name);
    let found = find_tap(&mut route, name)?;
    let controller = route.link(bridge).map_err(HostError::io("look at", bridge))?;
    let controller = controller.ok_or_else(|| HostError::Refused {
        action: "attach the TAP",
        object: name.to_string(),
        reason: format!("there is no bridge `{bridge}`"),
    })?;
    let link = match found {
        Some(link) if link.is_up && link.controller == Some(controller.index) => {
            return Ok(Change::Unchanged);
        }
        Some(link) => link,
        None => create_tap(&mut route, name)?,
    };
    disable_ipv6(name);
    route
        .set_up(link.index, vec![LinkAttribute::Controller(controller.index)])
        .map_err(failed("attach the TAP"))?;
    Ok(Change::Changed)
}

/// Removes the TAP, whoever has it open.
pub(super) fn remove_tap(name: &IfName) -> Result<Change, HostError> {
    let mut route = open_route(name)?;
    match find_tap(&mut route, name)? {
        Some(link) => delete(&mut route, &link, name),
        None => Ok(Change::Unchanged),
    }
}

/// Every interface of the host.
pub(super) fn list() -> io::Result<Vec<Link>> {
    Route::open()?.links()
}

/// Whether the interface is the bridge of the instance with this alias.
pub(super) fn is_own_bridge(link: &Link, alias: &str) -> bool {
    link.kind == Some(InfoKind::Bridge)
        && match &link.alias {
            Some(text) => text == alias,
            None => link.mac == bridge_mac(alias),
        }
}

/// Locally administered and unicast: 06, then `b` for banger, then what tells the instances apart.
fn bridge_mac(alias: &str) -> [u8; 6] {
    let [a, b, c, d, ..] = fingerprint(alias).to_be_bytes();
    [0x06, b'b', a, b, c, d]
}

fn open_route(name: &IfName) -> Result<Route, HostError> {
    Route::open().map_err(HostError::io("open a netlink socket for", name))
}

fn find_own_bridge(
    route: &mut Route,
    name: &IfName,
    alias: &str,
) -> Result<Option<Link>, HostError> {
    match route.link(name).map_err(HostError::io("look at", name))? {
        Some(link) if !is_own_bridge(&link, alias) => {
            Err(HostError::Foreign { object: name.to_string() })
        }
        found => Ok(found),
    }
}

fn find_tap(route: &mut Route, name: &IfName) -> Result<Option<Link>, HostError> {
    match route.link(name).map_err(HostError::io("look at", name))? {
        Some(link) if link.kind != Some(InfoKind::Tun) => {
            Err(HostError::Foreign { object: name.to_string() })
        }
        found => Ok(found),
    }
}

fn create_bridge(route: &mut Route, name: &IfName, alias: &str) -> Result<Link, HostError> {
    match route.create_bridge(name, bridge_mac(alias)) {
        // Somebody was quicker; the look below tells whether it was this instance.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(HostError::io("create the bridge", name))?,
    }
    find_own_bridge(route, name, alias)?
        .ok_or_else(|| HostError::io("find", name)(io::Error::from_raw_os_error(libc::ENODEV)))
}

fn create_tap(route: &mut Route, name: &IfName) -> Result<Link, HostError> {
    let tun = match OpenOptions::new().read(true).write(true).open(TUN) {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            return Err(HostError::Unavailable {
                feature: "the TAP driver",
                reason: format!("`{TUN}` cannot be opened: {error}"),
                remedy: "load the kernel module `tun`",
            });
        }
        other => other.map_err(HostError::io("open", TUN))?,
    };
    match ioctl::create_tap(&tun, name) {
        // Somebody has made it since the look, and has it open still.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        other => other.map_err(HostError::io("create the TAP", name))?,
    }
    find_tap(route, name)?
        .ok_or_else(|| HostError::io("find", name)(io::Error::from_raw_os_error(libc::ENODEV)))
}

fn delete(route: &mut Route, link: &Link, name: &IfName) -> Result<Change, HostError> {
    match route.delete_link(link.index) {
        Ok(()) => Ok(Change::Changed),
        // Another remover was quicker.
        Err(error) if is_absent(&error) => Ok(Change::Unchanged),
        Err(error) => Err(HostError::io("delete the interface", name)(error)),
    }
}

/// Refuses a subnet that has an address in common with one of another interface's.
fn refuse_overlap(route: &mut Route, subnet: Subnet, others: &[Address]) -> Result<(), HostError> {
    let Some(other) = others.iter().find(|address| overlaps(subnet, address)) else {
        return Ok(());
    };
    let links = route.links().map_err(HostError::io("list the interfaces for", subnet))?;
    let name = links.into_iter().find(|link| link.index == other.index).map(|link| link.name);
    Err(HostError::AddressInUse {
        address: subnet.to_string(),
        interface: name.unwrap_or_else(|| format!("interface {}", other.index)),
        other: format!("{}/{}", other.ip, other.prefix),
    })
}

fn overlaps(subnet: Subnet, address: &Address) -> bool {
    let prefix = u32::from(subnet.prefix().min(address.prefix));
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    let network = |ip: Ipv4Addr| ip.to_bits() & mask;
    network(subnet.gateway()) == network(address.ip)
}

/// Guests have IPv4 alone; without this the host would take part in IPv6 on their wire.
fn disable_ipv6(name: &IfName) {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if let Err(error) = fs::write(&path, "1") {
        tracing::debug!(path, %error, "IPv6 stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_goes_by_the_shorter_prefix() {
        let subnet: Subnet = "172.16.0.1/24".parse().unwrap();
        let address = |ip: &str, prefix| Address { index: 1, ip: ip.parse().unwrap(), prefix };
        for (ip, prefix) in [("172.16.0.77", 32), ("172.16.200.1", 16), ("10.0.0.1", 0)] {
            assert!(overlaps(subnet, &address(ip, prefix)), "{ip}/{prefix}");
        }
        for (ip, prefix) in [("172.16.1.1", 24), ("127.0.0.1", 8), ("172.17.0.1", 16)] {
            assert!(!overlaps(subnet, &address(ip, prefix)), "{ip}/{prefix}");
        }
    }

    #[test]
    fn a_bridge_address_is_local_unicast_and_the_instances_own() {
        let mac = bridge_mac("banger:00000");
        assert_eq!((mac[0] & 3, mac[1]), (2, b'b'));
        assert_ne!(mac, bridge_mac("banger:00001"));
    }
}
