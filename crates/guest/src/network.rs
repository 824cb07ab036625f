//! The guest's interface: found by its MAC, given its address and default route.
//!
//! The kernel keeps all of it across the change of root, so the image needs no network set-up.

use crate::events::{DEVICE_DEADLINE, DeviceEvents};
use crate::path_error::{On, PathError};
use banger_core::guest::GuestNetwork;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Why the network is not up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// No interface has the address.
    #[error("no network interface with the address `{mac}` appeared within {seconds} s")]
    NoInterface {
        /// The hardware address that was looked for.
        mac: String,
        /// The deadline.
        seconds: u64,
    },
    /// A file of sysfs cannot be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The kernel refused a change.
    #[error("cannot {action}")]
    Netlink {
        /// What was attempted.
        action: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Brings up the loopback interface and the one with the configured MAC.
pub(crate) fn bring_up(network: &GuestNetwork, events: &DeviceEvents) -> Result<(), NetworkError> {
    let class = Path::new("/sys/class/net");
    let mut route = RouteSocket::open()?;
    let loopback = class.join("lo/ifindex");
    let index = read_index(&loopback).on("read the interface index in", &loopback)?;
    route.change("bring up `lo`", link_up(index), NLM_F_REQUEST)?;

    let find = || find_by_mac(class, &network.mac);
    let index = events.wait_for(DEVICE_DEADLINE, find).ok_or_else(|| {
        NetworkError::NoInterface { mac: network.mac.clone(), seconds: DEVICE_DEADLINE.as_secs() }
    })?;
    let GuestNetwork { address, prefix, gateway, .. } = network;
    route.change(
        &format!("give the interface the address {address}/{prefix}"),
        address_of(index, *address, *prefix),
        NEW,
    )?;
    route.change("bring up the interface", link_up(index), NLM_F_REQUEST)?;
    route.change(
        &format!("set the default route to {gateway}"),
        default_route(index, *gateway),
        NEW,
    )
}

/// Creates; what is there already is not an error here.
const NEW: u16 = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;

/// The index of the interface below `class` (a `/sys/class/net`) that has the address.
fn find_by_mac(class: &Path, mac: &str) -> Option<u32> {
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let address = fs::read_to_string(entry.path().join("address")).ok()?;
        let found = address.trim().eq_ignore_ascii_case(mac);
        if found { read_index(&entry.path().join("ifindex")).ok() } else { None }
    })
}

fn read_index(path: &Path) -> io::Result<u32> {
    fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

fn link_up(index: u32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(link)
}

fn address_of(index: u32, address: Ipv4Addr, prefix: u8) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address)),
        AddressAttribute::Address(IpAddr::V4(address)),
        AddressAttribute::Broadcast(Ipv4Addr::from_bits(address.to_bits() | host_bits)),
    ];
    RouteNetlinkMessage::NewAddress(message)
}

fn default_route(index: u32, gateway: Ipv4Addr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
    RouteNetlinkMessage::NewRoute(message)
}

/// A connection to the kernel's routing tables.
struct RouteSocket {
    socket: Socket,
    sequence: u32,
}

impl RouteSocket {
    fn open() -> Result<Self, NetworkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(Self { socket, sequence: 0 })
        };
        open().map_err(|source| netlink_error("reach the kernel's routing tables", source))
    }

    /// Sends one change and waits for the kernel's answer. What exists already is fine.
    fn change(
        &mut self,
        action: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetworkError> {
        match self.exchange(message, flags | NLM_F_ACK) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(netlink_error(action, error))
            }
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(io::Error::other)?;
            match answer.payload {
                NetlinkPayload::Error(error) if answer.header.sequence_number == self.sequence => {
                    return error.code.map_or(Ok(()), |_| Err(error.to_io()));
                }
                _ => {}
            }
        }
    }
}

fn netlink_error(action: &str, source: io::Error) -> NetworkError {
    NetworkError::Netlink { action: action.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(class: &Path, name: &str, mac: &str, index: u32) {
        let dir = class.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("address"), format!("{mac}\n")).unwrap();
        fs::write(dir.join("ifindex"), format!("{index}\n")).unwrap();
    }

    #[test]
    fn the_interface_is_found_by_its_mac_in_either_case() {
        let class = tempfile::tempdir().unwrap();
        interface(class.path(), "lo", "00:00:00:00:00:00", 1);
        interface(class.path(), "eth0", "06:00:ac:10:00:02", 2);
        assert_eq!(find_by_mac(class.path(), "06:00:AC:10:00:02"), Some(2));
        assert_eq!(find_by_mac(class.path(), "06:00:ac:10:00:03"), None);
    }

    #[test]
    fn the_broadcast_address_follows_the_prefix() {
        for (prefix, broadcast) in
            [(24, [172, 16, 0, 255]), (30, [172, 16, 0, 3]), (32, [172, 16, 0, 2])]
        {
            let RouteNetlinkMessage::NewAddress(message) =
                address_of(2, Ipv4Addr::new(172, 16, 0, 2), prefix)
            else {
                panic!("an address message")
            };
            let wanted = AddressAttribute::Broadcast(Ipv4Addr::from(broadcast));
            assert!(message.attributes.contains(&wanted), "{prefix}: {message:?}");
        }
    }
}
