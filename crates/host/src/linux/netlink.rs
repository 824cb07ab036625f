//! A small blocking rtnetlink client: one request, its answers, its acknowledgement.
//!
//! A socket belongs to the network namespace of the thread that opened it, so one is opened for
//! each operation.

mod way;

pub(super) use way::Traveller;

use banger_core::names::IfName;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The kernel fills at most 32 KiB per read of a dump (`netlink_dump`).
const BUFFER: usize = 64 << 10;
/// How often a dump is begun anew because the table changed under it.
const DUMPS: usize = 8;

/// A connection to the kernel's routing tables.
pub(super) struct Route {
    socket: Socket,
    sequence: u32,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) alias: Option<String>,
    pub(super) kind: Option<InfoKind>,
    pub(super) controller: Option<u32>,
    pub(super) mac: Vec<u8>,
    pub(super) is_up: bool,
}

/// An IPv4 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) ip: Ipv4Addr,
    pub(super) prefix: u8,
}

/// What the kernel does when the object is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Ask,
    Dump,
    Set,
    Create,
}

impl Verb {
    fn flags(self) -> u16 {
        NLM_F_REQUEST
            | match self {
                Self::Ask | Self::Set => NLM_F_ACK,
                Self::Dump => NLM_F_DUMP,
                Self::Create => NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            }
    }
}

impl Route {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface of that name; `None` if there is none.
    pub(super) fn link(&mut self, name: &IfName) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        match self.request(&RouteNetlinkMessage::GetLink(message), Verb::Ask) {
            Ok(answers) => Ok(answers.into_iter().find_map(as_link)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every interface.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(self.request(&message, Verb::Dump)?.into_iter().filter_map(as_link).collect())
    }

    /// Every IPv4 address of every interface.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let answers = self.request(&RouteNetlinkMessage::GetAddress(message), Verb::Dump)?;
        Ok(answers.into_iter().filter_map(as_address).collect())
    }

    /// Creates a bridge, down; `AlreadyExists` if the name is taken.
    pub(super) fn create_bridge(&mut self, name: &IfName, mac: [u8; 6]) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_string()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.request(&RouteNetlinkMessage::NewLink(message), Verb::Create).map(drop)
    }

    /// Changes what the attributes say, and brings the interface up.
    pub(super) fn set_up(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = attributes;
        self.request(&RouteNetlinkMessage::SetLink(message), Verb::Set).map(drop)
    }

    /// Gives the interface a text by which its owner knows it.
    pub(super) fn set_alias(&mut self, index: u32, alias: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.request(&RouteNetlinkMessage::SetLink(message), Verb::Set).map(drop)
    }

    /// Deletes the interface.
    pub(super) fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(&RouteNetlinkMessage::DelLink(message), Verb::Set).map(drop)
    }

    /// Gives the interface an address; `AlreadyExists` if it has it.
    pub(super) fn add_address(&mut self, address: Address, broadcast: Ipv4Addr) -> io::Result<()> {
        let mut message = address_message(address);
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
        self.request(&RouteNetlinkMessage::NewAddress(message), Verb::Create).map(drop)
    }

    /// Takes an address from its interface.
    pub(super) fn delete_address(&mut self, address: Address) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelAddress(address_message(address));
        self.request(&message, Verb::Set).map(drop)
    }

    fn request(
        &mut self,
        message: &RouteNetlinkMessage,
        verb: Verb,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMPS {
            self.send(message.clone(), verb)?;
            if let Some(answers) = self.receive()? {
                return Ok(answers);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the table changed during every dump"))
    }

    fn send(&mut self, message: RouteNetlinkMessage, verb: Verb) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = verb.flags();
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads until the request is acknowledged; `None` if a dump was torn.
    fn receive(&mut self) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let (mut answers, mut is_torn) = (Vec::new(), false);
        loop {
            let mut buffer = Vec::with_capacity(BUFFER);
            self.socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.as_slice();
            while let Some((message, after)) = split_message(rest) {
                rest = after;
                // An attribute that the library cannot read costs that one object.
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
                    .inspect_err(|error| tracing::debug!(%error, "unreadable netlink message"))
                else {
                    continue;
                };
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                is_torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => {
                        return Ok((!is_torn).then_some(answers));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Cuts the first message, header included, off the bytes that one read gave.
pub(super) fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    // A length below that of its own header would never end.
    let message = bytes.get(..length).filter(|_| length >= 16)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Whether the error says that the interface is not there.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}

fn as_link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: None,
        kind: None,
        controller: None,
        mac: Vec::new(),
        is_up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

fn as_address(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut prefixed) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(ip)) => local = Some(*ip),
            AddressAttribute::Address(IpAddr::V4(ip)) => prefixed = Some(*ip),
            _ => {}
        }
    }
    // On a point-to-point link the second is the peer's, and the prefix is the peer's too.
    let ip = prefixed.or(local)?;
    Some(Address { index: message.header.index, ip, prefix: message.header.prefix_len })
}

fn address_message(address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix;
    message.header.index = address.index;
    let ip = IpAddr::V4(address.ip);
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_split_to_an_end(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Some((message, after)) = split_message(rest) {
                prop_assert!(message.len() >= 16 && after.len() < rest.len());
                rest = after;
            }
        }
    }
}
