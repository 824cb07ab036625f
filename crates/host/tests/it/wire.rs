//! One end of a wire: a TAP that a test holds open, and the frames on it.

use banger_host::cmd::Cmd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) type Mac = [u8; 6];

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;

/// What the host sends to the interface is read here, and what is written here comes from it.
pub(crate) struct Wire {
    file: File,
    /// Who is at the other end: the bridge, or the interface itself.
    pub(crate) host_mac: Mac,
    pub(crate) own_mac: Mac,
    /// The virtio-net header before each frame.
    header: usize,
}

/// What a TAP is like.
pub(crate) enum Kind {
    /// As banger makes it for a VMM.
    Guest,
    /// As `ip tuntap` makes it.
    Plain,
}

/// The fields of a UDP packet that the tests look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Udp {
    pub(crate) from: Ipv4Addr,
    pub(crate) from_port: u16,
    pub(crate) to: Ipv4Addr,
    pub(crate) to_port: u16,
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) to: Mac,
    pub(crate) from: Mac,
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    pub(crate) fn attach(name: &str, mac_of: &str, own_mac: Mac, kind: &Kind) -> Self {
        let (flags, header) = match kind {
            Kind::Guest => (libc::IFF_VNET_HDR, 10),
            Kind::Plain => (0, 0),
        };
        let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: all-zero bytes are a valid ifreq, and it lives until the call is over.
        #[expect(unsafe_code, reason = "no crate in the tree wraps this call")]
        unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from.cast_signed();
            }
            let flags = libc::IFF_TAP | libc::IFF_NO_PI | flags;
            request.ifr_ifru.ifru_flags = flags.try_into().unwrap();
            assert_eq!(libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request), 0);
        }
        let shown = ip(&["-o", "link", "show", mac_of]);
        let text = shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        Self { file, host_mac: bytes.try_into().unwrap(), own_mac, header }
    }

    /// Sends a packet to the host, as who the wire's end is.
    pub(crate) fn send(&mut self, udp: &Udp) {
        self.send_packet(&udp.packet());
    }

    /// The same with any IPv4 packet.
    pub(crate) fn send_packet(&mut self, packet: &[u8]) {
        let (to, from) = (self.host_mac, self.own_mac);
        self.send_frame(&Frame { to, from, kind: IPV4, payload: packet.to_vec() });
    }

    pub(crate) fn send_frame(&mut self, frame: &Frame) {
        let mut bytes = vec![0; self.header];
        bytes.extend(frame.to);
        bytes.extend(frame.from);
        bytes.extend(frame.kind.to_be_bytes());
        bytes.extend(&frame.payload);
        self.file.write_all(&bytes).unwrap();
    }

    /// The next UDP packet; whatever else is on the wire is passed over.
    pub(crate) fn receive(&mut self) -> Udp {
        Udp::of(&self.receive_packet(17))
    }

    /// The next IPv4 packet of the protocol.
    pub(crate) fn receive_packet(&mut self, protocol: u8) -> Vec<u8> {
        loop {
            let frame = self.receive_frame();
            if frame.kind == IPV4 && frame.payload[9] == protocol {
                return frame.payload;
            }
        }
    }

    /// The next frame of a neighbour, who is anybody but the host.
    pub(crate) fn receive_from_neighbour(&mut self) -> Frame {
        loop {
            let frame = self.receive_frame();
            if frame.from != self.host_mac {
                return frame;
            }
        }
    }

    fn receive_frame(&mut self) -> Frame {
        let limit = Timespec::try_from(LIMIT).unwrap();
        let ready = poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ready, 1, "no packet came");
        let mut buffer = [0; 2048];
        let length = self.file.read(&mut buffer).unwrap();
        let frame = &buffer[self.header..length];
        Frame {
            to: frame[..6].try_into().unwrap(),
            from: frame[6..12].try_into().unwrap(),
            kind: u16::from_be_bytes([frame[12], frame[13]]),
            payload: frame[14..].to_vec(),
        }
    }
}

impl Udp {
    /// The packet, with no data and no checksum of its own.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut ip = ip_header(17, 8, self.from, self.to);
        ip.extend(self.from_port.to_be_bytes());
        ip.extend(self.to_port.to_be_bytes());
        ip.extend([0, 8, 0, 0]);
        ip
    }

    fn of(ip: &[u8]) -> Self {
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
        let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        Self { from: address(12), from_port: port(20), to: address(16), to_port: port(22) }
    }
}

fn ip_header(protocol: u8, length: u8, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 20 + length, 0, 0, 0, 0, 64, protocol, 0, 0];
    ip.extend(from.octets());
    ip.extend(to.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip
}

/// The Internet's checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let pair = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair[1]);
    let sum: u32 = bytes.chunks(2).map(pair).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// The first packet of a TCP connection from port 4000.
pub(crate) fn tcp_greeting(from: Ipv4Addr, to: Ipv4Addr, to_port: u16) -> Vec<u8> {
    let mut tcp = 4000u16.to_be_bytes().to_vec();
    tcp.extend(to_port.to_be_bytes());
    // Numbers, twenty bytes of header, SYN, a window; the checksum comes last.
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 6, 0, 20], &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    [ip_header(6, 20, from, to), tcp].concat()
}

/// An ARP answer that says that the address is at the hardware address.
pub(crate) fn arp_answer(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 2];
    arp.extend(mac);
    arp.extend(address.octets());
    arp.extend([0; 10]);
    arp
}

pub(crate) fn ip(args: &[&str]) -> String {
    String::from_utf8(Cmd::new("ip").args(args).run().unwrap().stdout).unwrap()
}

/// The hardware address as text.
pub(crate) fn mac_text(bytes: Mac) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
