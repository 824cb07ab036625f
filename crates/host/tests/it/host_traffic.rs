//! What the nft table lets through, with real packets: a guest's TAP on one side of the host, a TAP
//! that plays the world on the other.

use crate::scene::Scene;
use banger_core::names::IfName;
use banger_core::resource::Resource;
use banger_host::cmd::Cmd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const NAT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const NO_NAT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 3);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const WORLD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

const GUEST_MAC: [u8; 6] = [6, 0, 172, 16, 0, 2];
const WORLD_MAC: [u8; 6] = [6, 0, 10, 0, 0, 2];

/// One end of a wire: what the host sends to the interface is read here.
struct Wire {
    file: File,
    host_mac: [u8; 6],
    own_mac: [u8; 6],
    /// The virtio-net header before each frame.
    header: usize,
}

/// The fields of a UDP packet that the tests look at.
#[derive(Debug, PartialEq, Eq)]
struct Udp {
    from: Ipv4Addr,
    from_port: u16,
    to: Ipv4Addr,
    to_port: u16,
}

impl Wire {
    fn attach(name: &str, mac_of: &str, own_mac: [u8; 6], flags: i32, header: usize) -> Self {
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

    fn send(&mut self, udp: &Udp) {
        let mut packet = vec![0; self.header];
        packet.extend(self.host_mac);
        packet.extend(self.own_mac);
        packet.extend([0x08, 0x00]);
        let mut ip = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
        ip.extend(udp.from.octets());
        ip.extend(udp.to.octets());
        let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(ip);
        packet.extend(udp.from_port.to_be_bytes());
        packet.extend(udp.to_port.to_be_bytes());
        // Length 8, and no checksum.
        packet.extend([0, 8, 0, 0]);
        self.file.write_all(&packet).unwrap();
    }

    /// The next UDP packet; whatever else is on the wire is passed over.
    fn receive(&mut self) -> Udp {
        loop {
            let limit = Timespec::try_from(Duration::from_secs(10)).unwrap();
            let ready = poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&limit)).unwrap();
            assert_eq!(ready, 1, "no packet came");
            let mut buffer = [0; 2048];
            let length = self.file.read(&mut buffer).unwrap();
            let frame = &buffer[self.header..length];
            if frame[12..14] != [0x08, 0x00] || frame[14 + 9] != 17 {
                continue;
            }
            let ip = &frame[14..];
            let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
            let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
            return Udp {
                from: address(12),
                from_port: port(20),
                to: address(16),
                to_port: port(22),
            };
        }
    }
}

fn ip(args: &[&str]) -> String {
    String::from_utf8(Cmd::new("ip").args(args).run().unwrap().stdout).unwrap()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// The guest's wire and the world's.
fn wires(scene: &Scene) -> (Wire, Wire) {
    let bridge = IfName::try_from("br-test".to_owned()).unwrap();
    let subnet = format!("{GATEWAY}/24").parse().unwrap();
    let (vm, _) = scene.vm(1);
    let name = scene.layout.tap(&vm);
    let table = scene.layout.nat_table();
    let guests = vec![NAT.into()];
    scene.ensure(&Resource::NatTable { table, bridge: bridge.clone(), subnet, guests });
    let alias = scene.layout.bridge_alias();
    scene.ensure(&Resource::Bridge { name: bridge.clone(), subnet, alias });
    scene.ensure(&Resource::Tap { vm, name: name.clone(), bridge });
    ip(&["tuntap", "add", "world", "mode", "tap"]);
    ip(&["addr", "add", &format!("{HOST}/24"), "dev", "world"]);
    let guest = Wire::attach(name.as_str(), "br-test", GUEST_MAC, libc::IFF_VNET_HDR, 10);
    let world = Wire::attach("world", "world", WORLD_MAC, 0, 0);
    ip(&["link", "set", "world", "up"]);
    ip(&["route", "add", "default", "via", &WORLD.to_string()]);
    let neighbours = [(WORLD, WORLD_MAC, "world"), (NAT, GUEST_MAC, "br-test")];
    for (address, bytes, dev) in neighbours {
        ip(&["neigh", "add", &address.to_string(), "lladdr", &mac(bytes), "dev", dev]);
    }
    // The kernel takes a moment to pass on that a TAP has somebody at its other end; until then the
    // bridge drops what comes from it.
    let deadline = Instant::now() + Duration::from_secs(10);
    for link in ["br-test", "world"] {
        while !ip(&["-o", "link", "show", link]).contains("LOWER_UP") {
            assert!(Instant::now() < deadline, "`{link}` has no carrier");
        }
    }
    (guest, world)
}

fn udp(from: Ipv4Addr, to: Ipv4Addr, to_port: u16) -> Udp {
    Udp { from, from_port: 4000, to, to_port }
}

#[test]
fn a_guest_with_nat_reaches_the_world_and_no_other_packet_passes() {
    let scene = Scene::new();
    let (mut guest, mut world) = wires(&scene);
    guest.send(&udp(NO_NAT, WORLD, 1));
    guest.send(&udp(NAT, METADATA, 2));
    guest.send(&udp(NAT, WORLD, 3));
    let seen = world.receive();
    assert_eq!((seen.from, seen.to, seen.to_port), (HOST, WORLD, 3));
    // Unasked for, then the answer.
    world.send(&udp(WORLD, NAT, 5));
    world.send(&Udp { from: WORLD, from_port: 3, to: HOST, to_port: seen.from_port });
    assert_eq!(guest.receive(), Udp { from: WORLD, from_port: 3, to: NAT, to_port: 4000 });
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_guest_without_nat_reaches_the_host_at_the_bridges_address_alone() {
    let scene = Scene::new();
    let (mut guest, _world) = wires(&scene);
    let bind = |address| {
        let socket = UdpSocket::bind((address, 7000)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };
    let (outer, inner) = (bind(HOST), bind(GATEWAY));
    guest.send(&udp(NO_NAT, HOST, 7000));
    guest.send(&udp(NO_NAT, GATEWAY, 7000));
    let mut buffer = [0; 8];
    let (_, from) = inner.recv_from(&mut buffer).unwrap();
    assert_eq!(from, (NO_NAT, 4000).into());
    // Packets are handled in order, so the first would be here by now.
    outer.set_nonblocking(true).unwrap();
    assert!(outer.recv_from(&mut buffer).is_err());
    guest.send(&udp(NAT, HOST, 7000));
    outer.set_nonblocking(false).unwrap();
    let (_, from) = outer.recv_from(&mut buffer).unwrap();
    assert_eq!(from, (NAT, 4000).into());
    scene.clear().unwrap();
    scene.finish();
}
