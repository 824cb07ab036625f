//! What the nft tables let through, with real packets: guests' TAPs on one side of the host, a TAP
//! that plays the world on the other.

use crate::scene::Scene;
use crate::wire::{ARP, Frame, IPV4, Kind, Mac, Udp, Wire, arp_answer, ip, mac_text, tcp_greeting};
use banger_core::names::IfName;
use banger_core::net::MacAddr;
use banger_core::resource::{HostAccess, Member, Resource};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

pub(crate) const OTTER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
pub(crate) const HERON: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 3);
const ROBIN: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 4);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const WORLD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const WORLD_MAC: Mac = [6, 0, 10, 0, 0, 2];
const EVERYBODY: Mac = [0xff; 6];

/// Two guests with NAT, one without, and the world.
pub(crate) struct Wires {
    pub(crate) otter: Wire,
    /// The one without NAT.
    pub(crate) heron: Wire,
    pub(crate) robin: Wire,
    pub(crate) world: Wire,
}

fn mac_of(guest: Ipv4Addr) -> Mac {
    MacAddr::for_ip(guest.into()).octets()
}

pub(crate) fn members(scene: &Scene) -> Vec<Member> {
    let member = |(ip, n, nat): (Ipv4Addr, u64, bool)| {
        let tap = scene.layout.tap(&scene.vm(n).0);
        Member { ip: ip.into(), mac: MacAddr::for_ip(ip.into()), tap, nat }
    };
    [(OTTER, 1, true), (HERON, 2, false), (ROBIN, 3, true)].map(member).into()
}

pub(crate) fn firewall(scene: &Scene, members: Vec<Member>, host_access: HostAccess) -> Resource {
    Resource::Firewall {
        table: scene.layout.nft_table(),
        bridge: bridge(),
        subnet: format!("{GATEWAY}/24").parse().unwrap(),
        members,
        host_access,
        dns_port: None,
    }
}

pub(crate) fn bridge() -> IfName {
    IfName::try_from("br-test".to_owned()).unwrap()
}

pub(crate) fn wires(scene: &Scene) -> Wires {
    scene.ensure(&firewall(scene, members(scene), HostAccess::Gateway));
    let subnet = format!("{GATEWAY}/24").parse().unwrap();
    let alias = scene.layout.bridge_alias();
    scene.ensure(&Resource::Bridge { name: bridge(), subnet, alias });
    let guest = |n: u64, address: Ipv4Addr| {
        let (vm, _) = scene.vm(n);
        let name = scene.layout.tap(&vm);
        scene.ensure(&Resource::Tap { vm, name: name.clone(), bridge: bridge() });
        Wire::attach(name.as_str(), "br-test", mac_of(address), &Kind::Guest)
    };
    let (otter, heron, robin) = (guest(1, OTTER), guest(2, HERON), guest(3, ROBIN));
    ip(&["tuntap", "add", "world", "mode", "tap"]);
    ip(&["addr", "add", &format!("{HOST}/24"), "dev", "world"]);
    let world = Wire::attach("world", "world", WORLD_MAC, &Kind::Plain);
    ip(&["link", "set", "world", "up"]);
    ip(&["route", "add", "default", "via", &WORLD.to_string()]);
    let on_bridge = |address| (address, mac_of(address), "br-test");
    let neighbours =
        [(WORLD, WORLD_MAC, "world"), on_bridge(OTTER), on_bridge(HERON), on_bridge(ROBIN)];
    for (address, bytes, dev) in neighbours {
        ip(&["neigh", "add", &address.to_string(), "lladdr", &mac_text(bytes), "dev", dev]);
    }
    // The kernel takes a moment to pass on that a TAP has somebody at its other end; until then the
    // bridge drops what comes from it.
    let deadline = Instant::now() + Duration::from_secs(10);
    let ready = || {
        let ports = ip(&["-o", "link", "show", "master", "br-test"]);
        let world = ip(&["-o", "link", "show", "world"]);
        ports.matches("LOWER_UP").count() == 3
            && ip(&["-d", "link", "show", "master", "br-test"]).matches("forwarding").count() == 3
            && world.contains("LOWER_UP")
    };
    while !ready() {
        assert!(Instant::now() < deadline, "the links have no carrier");
    }
    Wires { otter, heron, robin, world }
}

pub(crate) fn udp(from: Ipv4Addr, to: Ipv4Addr, to_port: u16) -> Udp {
    Udp { from, from_port: 4000, to, to_port }
}

fn bind(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 7000)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Who sent the next datagram.
fn caller(socket: &UdpSocket) -> Ipv4Addr {
    let (_, from) = socket.recv_from(&mut [0; 8]).unwrap();
    let std::net::IpAddr::V4(address) = from.ip() else { panic!("{from} on an IPv4 socket") };
    address
}

/// Packets are handled in order, so what was sent earlier would be here by now.
fn assert_uncalled(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut [0; 8]).is_err());
    socket.set_nonblocking(false).unwrap();
}

#[test]
fn a_guest_with_nat_reaches_the_world_and_no_other_packet_passes() {
    let scene = Scene::new();
    let Wires { mut otter, mut heron, mut world, .. } = wires(&scene);
    heron.send(&udp(HERON, WORLD, 1));
    otter.send(&udp(OTTER, METADATA, 2));
    otter.send(&udp(OTTER, WORLD, 3));
    let seen = world.receive();
    assert_eq!((seen.from, seen.to, seen.to_port), (HOST, WORLD, 3));
    // Unasked for, then the answer.
    world.send(&udp(WORLD, OTTER, 5));
    world.send(&Udp { from: WORLD, from_port: 3, to: HOST, to_port: seen.from_port });
    assert_eq!(otter.receive(), Udp { from: WORLD, from_port: 3, to: OTTER, to_port: 4000 });
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn guests_reach_the_host_at_the_bridges_address_alone_unless_more_is_allowed() {
    let scene = Scene::new();
    let Wires { mut otter, mut heron, .. } = wires(&scene);
    let (outer, inner) = (bind(HOST), bind(GATEWAY));
    let mut call = |to| {
        otter.send(&udp(OTTER, to, 7000));
        heron.send(&udp(HERON, to, 7000));
    };
    call(HOST);
    call(GATEWAY);
    assert_eq!([caller(&inner), caller(&inner)], [OTTER, HERON]);
    assert_uncalled(&outer);
    scene.ensure(&firewall(&scene, members(&scene), HostAccess::Any));
    call(HOST);
    call(GATEWAY);
    assert_eq!([caller(&inner), caller(&inner)], [OTTER, HERON]);
    assert_eq!(caller(&outer), OTTER);
    assert_uncalled(&outer);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_query_to_the_bridges_address_reaches_the_port_that_answers() {
    let scene = Scene::new();
    let Wires { mut otter, mut heron, mut world, .. } = wires(&scene);
    let mut with_names = firewall(&scene, members(&scene), HostAccess::Gateway);
    if let Resource::Firewall { dns_port, .. } = &mut with_names {
        *dns_port = std::num::NonZeroU16::new(7000);
    }
    scene.ensure(&with_names);
    let (inner, usual) = (bind(GATEWAY), UdpSocket::bind((GATEWAY, 53)).unwrap());
    let connections = std::net::TcpListener::bind((GATEWAY, 7000)).unwrap();
    for (guest, address) in [(&mut otter, OTTER), (&mut heron, HERON)] {
        guest.send(&udp(address, GATEWAY, 53));
        let (_, asker) = inner.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(asker.ip(), address, "with NAT and without");
        inner.send_to(b"", asker).unwrap();
        let answer = guest.receive();
        assert_eq!((answer.from, answer.from_port, answer.to_port), (GATEWAY, 53, 4000));
        guest.send_packet(&tcp_greeting(address, GATEWAY, 53));
        let greeted = guest.receive_packet(6);
        // The ports, and SYN with ACK.
        assert_eq!((&greeted[20..24], greeted[33]), (&[0, 53, 0x0f, 0xa0][..], 0x12));
    }
    drop(connections);
    assert_uncalled(&usual);
    // Only what is for the bridge: the world's name servers are the world's.
    otter.send(&udp(OTTER, WORLD, 53));
    assert_eq!(world.receive().to_port, 53);
    scene.ensure(&firewall(&scene, members(&scene), HostAccess::Gateway));
    // From another port: what a connection was turned to, it keeps.
    otter.send(&Udp { from_port: 4001, ..udp(OTTER, GATEWAY, 53) });
    assert_eq!(caller(&usual), OTTER);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_guest_answers_the_host_at_whichever_address_it_was_called_from() {
    let scene = Scene::new();
    let Wires { mut heron, .. } = wires(&scene);
    for socket in [bind(GATEWAY), bind(HOST)] {
        socket.send_to(b"", (HERON, 22)).unwrap();
        let asked = heron.receive();
        assert_eq!((asked.to, asked.to_port), (HERON, 22));
        let Udp { from, from_port, to, to_port } = asked;
        heron.send(&Udp { from: to, from_port: to_port, to: from, to_port: from_port });
        assert_eq!(caller(&socket), HERON);
    }
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn no_guest_passes_for_another() {
    let scene = Scene::new();
    let Wires { mut otter, mut heron, mut world, .. } = wires(&scene);
    let inner = bind(GATEWAY);
    let from =
        |mac, udp: &Udp| Frame { to: otter.host_mac, from: mac, kind: IPV4, payload: udp.packet() };
    let mut forgeries = Vec::new();
    for to in [WORLD, GATEWAY] {
        // The address, the hardware address, both; an address that is nobody's.
        forgeries.push(from(mac_of(HERON), &udp(OTTER, to, 7000)));
        forgeries.push(from(mac_of(OTTER), &udp(OTTER, to, 7000)));
        forgeries.push(from(mac_of(OTTER), &udp(HERON, to, 7000)));
        forgeries.push(from(mac_of(HERON), &udp(Ipv4Addr::new(172, 16, 0, 99), to, 7000)));
        forgeries.push(from(mac_of(HERON), &udp(GATEWAY, to, 7000)));
    }
    forgeries.iter().for_each(|frame| heron.send_frame(frame));
    otter.send(&udp(OTTER, WORLD, 3));
    assert_eq!(world.receive().to_port, 3);
    heron.send(&udp(HERON, GATEWAY, 7000));
    assert_eq!(caller(&inner), HERON);
    assert_uncalled(&inner);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn only_true_ipv4_and_arp_pass_from_guest_to_guest() {
    let scene = Scene::new();
    let Wires { mut otter, mut robin, .. } = wires(&scene);
    let frame = |kind, payload| Frame { to: EVERYBODY, from: mac_of(OTTER), kind, payload };
    let call = udp(OTTER, ROBIN, 9).packet();
    let tagged: Vec<u8> =
        [0, 1].into_iter().chain(IPV4.to_be_bytes()).chain(call.clone()).collect();
    let mut odd = arp_answer(OTTER, mac_of(OTTER));
    odd[4] = 8;
    for refused in [
        frame(ARP, arp_answer(GATEWAY, mac_of(OTTER))),
        frame(ARP, arp_answer(OTTER, mac_of(ROBIN))),
        frame(ARP, arp_answer(ROBIN, mac_of(ROBIN))),
        frame(ARP, odd),
        frame(0x86dd, vec![0x60; 40]),
        frame(0x8100, tagged),
        frame(0x88cc, vec![0; 46]),
        Frame { from: mac_of(ROBIN), ..frame(ARP, arp_answer(OTTER, mac_of(OTTER))) },
    ] {
        otter.send_frame(&refused);
    }
    for passed in [frame(ARP, arp_answer(OTTER, mac_of(OTTER))), frame(IPV4, call)] {
        otter.send_frame(&passed);
        assert_eq!(robin.receive_from_neighbour(), passed);
    }
    scene.clear().unwrap();
    scene.finish();
}

/// Whether what crosses a bridge is shown to the `ip` tables too, as Docker has it. Where the kernel
/// lacks br_netfilter it is not.
pub(crate) fn show_frames_to_ip_tables(answer: &str) {
    let switch = std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if switch.exists() {
        std::fs::write(switch, answer).unwrap();
    }
}

#[test]
fn a_guest_without_nat_has_no_neighbours() {
    let scene = Scene::new();
    let mut wires = wires(&scene);
    for answer in ["0", "1"] {
        show_frames_to_ip_tables(answer);
        has_no_neighbours(&scene, &mut wires);
    }
    scene.clear().unwrap();
    scene.finish();
}

fn has_no_neighbours(scene: &Scene, Wires { otter, heron, robin, .. }: &mut Wires) {
    let direct = |from, to| Frame {
        to: mac_of(to),
        from: mac_of(from),
        kind: IPV4,
        payload: udp(from, to, 1).packet(),
    };
    heron.send_frame(&direct(HERON, OTTER));
    heron.send_frame(&Frame { to: EVERYBODY, ..direct(HERON, OTTER) });
    otter.send_frame(&direct(OTTER, HERON));
    let called = Frame { to: EVERYBODY, ..direct(ROBIN, OTTER) };
    robin.send_frame(&called);
    // By way of the host, which knows the way.
    heron.send(&udp(HERON, OTTER, 2));
    otter.send(&udp(OTTER, HERON, 2));
    assert_eq!(otter.receive_from_neighbour(), called);
    robin.send_frame(&direct(ROBIN, OTTER));
    assert_eq!(otter.receive_from_neighbour(), direct(ROBIN, OTTER));
    bind(GATEWAY).send_to(b"", (HERON, 22)).unwrap();
    let first = heron.receive();
    assert_eq!((first.from, first.to_port), (GATEWAY, 22));
    // With NAT it has, from then on, and then no longer.
    let with_nat = members(scene).into_iter().map(|member| Member { nat: true, ..member });
    scene.ensure(&firewall(scene, with_nat.collect(), HostAccess::Gateway));
    otter.send_frame(&direct(OTTER, HERON));
    assert_eq!(heron.receive_from_neighbour(), direct(OTTER, HERON));
    scene.ensure(&firewall(scene, members(scene), HostAccess::Gateway));
}

#[test]
fn a_tap_that_is_no_members_is_heard_by_nobody() {
    let scene = Scene::new();
    let Wires { mut otter, mut robin, world: _world, .. } = wires(&scene);
    let inner = bind(GATEWAY);
    let others = members(&scene).into_iter().filter(|member| member.ip != OTTER.into());
    scene.ensure(&firewall(&scene, others.collect(), HostAccess::Gateway));
    otter.send(&udp(OTTER, GATEWAY, 7000));
    robin.send(&udp(ROBIN, GATEWAY, 7000));
    assert_eq!(caller(&inner), ROBIN);
    assert_uncalled(&inner);
    scene.clear().unwrap();
    scene.finish();
}
