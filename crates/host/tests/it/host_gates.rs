//! Other firewalls of the host: what they do to guests' packets, and whether that is seen.

use crate::gatekeepers::{DOCKER, FIREWALLD, UFW, lay, lay_nft, rules};
use crate::host_traffic::{
    GATEWAY, HERON, HOST, OTTER, WORLD, Wires, bridge, firewall, members, udp, wires,
};
use crate::host_ways::{FAR, NEAR, second};
use crate::scene::Scene;
use crate::wire::{Udp, Wire};
use banger_core::resource::{Gatekeeper, HostAccess, Resource};
use banger_host::cmd::Cmd;
use banger_host::facts::{Concern, Fate, NetworkFacts, NetworkQuestion};
use banger_host::{Change, Host};
use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

/// Where guests' DNS queries are answered.
const NAMES: u16 = 7000;
/// A port that nothing but what marks the end of something is for.
const MARK: u16 = 9;

/// A host with guests, the world, and who answers for names.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    pub(crate) wires: Wires,
    names: UdpSocket,
    marker: UdpSocket,
    /// The port of the next call: what a connection was told once, it may do.
    next: u16,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let scene = Scene::new();
        let wires = wires(&scene);
        let mut table = firewall(&scene, members(&scene), HostAccess::Gateway);
        if let Resource::Firewall { dns_port, .. } = &mut table {
            *dns_port = NonZeroU16::new(NAMES);
        }
        scene.ensure(&table);
        let bind = |port| {
            let socket = UdpSocket::bind((GATEWAY, port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        let (names, marker) = (bind(NAMES), bind(NAMES + 1));
        Self { scene, wires, names, marker, next: 1000 }
    }

    pub(crate) fn facts(&self) -> NetworkFacts {
        NetworkFacts::gather(NetworkQuestion {
            bridge: bridge(),
            subnet: format!("{GATEWAY}/24").parse().unwrap(),
            dns_port: NonZeroU16::new(NAMES),
            table: self.scene.layout.nft_table(),
        })
    }

    /// What is seen of other firewalls: whose it is, what is at stake, and what becomes of it.
    pub(crate) fn seen(&self) -> Vec<(String, Option<Gatekeeper>, Concern, Fate)> {
        let gates = self.facts().gates.unwrap();
        gates.into_iter().map(|g| (g.owner, g.gatekeeper, g.concern, g.fate)).collect()
    }

    /// Whether the guest's call reaches the world, and the world's answer the guest.
    pub(crate) fn exchange(&mut self) -> [bool; 2] {
        let path = Path { near: HOST, neighbour: WORLD, far: WORLD };
        self.next += 1;
        exchange(&mut self.wires.otter, &mut self.wires.world, &path, self.next)
    }

    /// Whether the guest's query reaches who answers it.
    pub(crate) fn query(&mut self) -> bool {
        self.next += 1;
        let otter = &mut self.wires.otter;
        otter.send(&Udp { from_port: self.next, ..udp(OTTER, GATEWAY, 53) });
        // An answer is let through by everybody, and comes later than the query.
        self.marker.send_to(b"", (OTTER, MARK)).unwrap();
        let asked = until_mark(otter).pop().unwrap();
        let Udp { from, from_port, to, to_port } = asked;
        otter.send(&Udp { from: to, from_port: to_port, to: from, to_port: from_port });
        self.marker.recv_from(&mut [0; 8]).unwrap();
        self.names.set_nonblocking(true).unwrap();
        let came = self.names.recv_from(&mut [0; 8]);
        self.names.set_nonblocking(false).unwrap();
        came.is_ok_and(|(_, asker)| asker.port() == self.next)
    }

    pub(crate) fn finish(self) {
        drop(self.wires);
        self.scene.clear().unwrap();
        self.scene.finish();
    }
}

/// A way to somebody.
pub(crate) struct Path {
    /// The host's address on its link.
    pub(crate) near: Ipv4Addr,
    /// Who is at the link's other end.
    pub(crate) neighbour: Ipv4Addr,
    /// Who is called.
    pub(crate) far: Ipv4Addr,
}

/// Sends a call from the guest to a port, and answers it if it comes. Packets are handled in order:
/// what the host sends later comes later.
pub(crate) fn exchange(guest: &mut Wire, world: &mut Wire, path: &Path, port: u16) -> [bool; 2] {
    let Path { near, neighbour, far } = *path;
    guest.send(&udp(OTTER, far, port));
    let mark = |from: Ipv4Addr, to: Ipv4Addr| {
        UdpSocket::bind((from, 0)).unwrap().send_to(b"", (to, MARK)).unwrap();
    };
    mark(near, neighbour);
    let calls = until_mark(world);
    let Some(call) = calls.iter().find(|seen| seen.to_port == port) else {
        return [false, false];
    };
    assert_eq!((call.from, call.to), (near, far), "it leaves with the host's address");
    let Udp { from, from_port, to, to_port } = *call;
    world.send(&Udp { from: to, from_port: to_port, to: from, to_port: from_port });
    mark(GATEWAY, OTTER);
    [true, until_mark(guest).iter().any(|seen| seen.from == far && seen.from_port == port)]
}

/// All packets up to one for the port that marks the end, which is the last.
fn until_mark(wire: &mut Wire) -> Vec<Udp> {
    let mut seen = Vec::new();
    loop {
        let packet = wire.receive();
        let is_mark = packet.to_port == MARK;
        seen.push(packet);
        if is_mark {
            return seen;
        }
    }
}

#[test]
fn nobody_stands_in_the_way_of_a_host_without_a_firewall() {
    let mut stage = Stage::new();
    assert_eq!((stage.exchange(), stage.query()), ([true, true], true));
    assert_eq!(stage.seen(), []);
    stage.finish();
}

#[test]
fn docker_drops_what_guests_send() {
    for gatekeeper in [Gatekeeper::IptablesNft, Gatekeeper::IptablesLegacy] {
        let mut stage = Stage::new();
        lay(&format!("{}-restore", gatekeeper.program()), DOCKER);
        assert_eq!((stage.exchange(), stage.query()), ([false, false], true));
        let (before, seen) =
            (rules(), |concern, fate| ("Docker".to_owned(), Some(gatekeeper), concern, fate));
        assert_eq!(
            stage.seen(),
            [seen(Concern::Beyond, Fate::Refused), seen(Concern::Names, Fate::Passes)]
        );
        assert_eq!(rules(), before, "looking changes nothing");
        stage.finish();
    }
}

#[test]
fn ufw_drops_what_guests_send_and_ask() {
    let mut stage = Stage::new();
    lay("iptables-nft-restore", UFW);
    assert_eq!((stage.exchange(), stage.query()), ([false, false], false));
    let gatekeeper = Some(Gatekeeper::IptablesNft);
    let seen = |concern| ("ufw".to_owned(), gatekeeper, concern, Fate::Refused);
    assert_eq!(stage.seen(), [seen(Concern::Beyond), seen(Concern::Names)]);
    stage.finish();
}

#[test]
fn firewalld_rejects_what_comes_from_an_interface_that_it_does_not_know() {
    let mut stage = Stage::new();
    lay_nft(FIREWALLD);
    assert_eq!((stage.exchange(), stage.query()), ([false, false], false));
    let gatekeeper = Some(Gatekeeper::Firewalld);
    let mut seen = stage.seen();
    seen.sort();
    let refused = |concern| ("firewalld".to_owned(), gatekeeper, concern, Fate::Refused);
    assert_eq!(seen, [refused(Concern::Beyond), refused(Concern::Names)]);
    stage.finish();
}

/// What has a gatekeeper let guests through, and their queries.
fn permit(stage: &Stage, gatekeeper: Gatekeeper) -> Resource {
    let mark = stage.scene.layout.bridge_alias();
    let dns = Some(std::net::SocketAddrV4::new(GATEWAY, NAMES));
    Resource::Permit { gatekeeper, mark, bridge: bridge(), dns }
}

/// Nothing passes without the permit, all does with it, and without it all is as it was.
fn opens_and_closes(stage: &mut Stage, gatekeeper: Gatekeeper) {
    let (before, permit) = (rules(), permit(stage, gatekeeper));
    stage.scene.ensure(&permit);
    assert_eq!((stage.exchange(), stage.query()), ([true, true], true), "{gatekeeper:?}");
    assert!(stage.seen().iter().all(|(.., fate)| *fate == Fate::Passes), "{:?}", stage.seen());
    assert!(stage.scene.keys().contains(&permit.key().to_string()));
    assert_ne!(rules(), before);
    stage.scene.remove(&permit);
    assert_eq!(rules(), before);
    assert_eq!(stage.exchange(), [false, false]);
}

#[test]
fn a_permit_opens_docker_and_ufw_and_leaves_no_trace() {
    for (gatekeeper, laid) in [
        (Gatekeeper::IptablesNft, DOCKER),
        (Gatekeeper::IptablesLegacy, DOCKER),
        (Gatekeeper::IptablesNft, UFW),
    ] {
        let mut stage = Stage::new();
        lay(&format!("{}-restore", gatekeeper.program()), laid);
        assert_eq!(stage.exchange(), [false, false]);
        opens_and_closes(&mut stage, gatekeeper);
        stage.finish();
    }
}

#[test]
fn a_permit_follows_docker_into_its_chain_and_survives_what_forgets_it() {
    let mut stage = Stage::new();
    let restore = "iptables-nft-restore";
    lay(restore, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n");
    let permit = permit(&stage, Gatekeeper::IptablesNft);
    stage.scene.ensure(&permit);
    assert_eq!(stage.exchange(), [true, true]);
    // As when Docker lays its chains anew: everything else in them is gone.
    lay(restore, DOCKER);
    assert_eq!(stage.exchange(), [false, false]);
    assert_eq!(stage.scene.keys().iter().filter(|key| key.contains("permit")).count(), 0);
    let before = rules();
    stage.scene.ensure(&permit);
    assert_eq!(stage.exchange(), [true, true]);
    stage.scene.remove(&permit);
    assert_eq!(rules(), before);
    stage.finish();
}

/// Changes rules as somebody who knows nothing of banger.
fn meddle(changes: &str) {
    let script = format!("*filter\n{changes}\nCOMMIT\n").into_bytes();
    Cmd::new("iptables-nft-restore").arg("--noflush").stdin_bytes(script).run().unwrap();
}

#[test]
fn a_permit_leaves_dockers_networks_to_docker() {
    let mut stage = Stage::new();
    let mut container = second("docker0");
    lay("iptables-nft-restore", DOCKER);
    let permit = permit(&stage, Gatekeeper::IptablesNft);
    stage.scene.ensure(&permit);
    assert_eq!(stage.exchange(), [true, true]);
    let path = Path { near: NEAR, neighbour: FAR, far: FAR };
    let mut reach = |port| exchange(&mut stage.wires.otter, &mut container, &path, port);
    assert_eq!(reach(3001), [false, false]);
    // What a port published by Docker opens, and nothing else, is reached.
    meddle("-A DOCKER -d 10.9.0.2/32 ! -i docker0 -o docker0 -p udp -m udp --dport 3003 -j ACCEPT");
    assert_eq!([reach(3002), reach(3003)], [[false, false], [true, true]]);
    meddle("-I DOCKER-USER -i br-test -j ACCEPT");
    assert_eq!(reach(3004), [true, true], "it is the rule that keeps it from the container");
    drop(container);
    stage.scene.remove(&permit);
    stage.finish();
}

#[test]
fn a_permit_takes_docker_networks_to_come_into_account() {
    let scene = Scene::new();
    lay("iptables-nft-restore", DOCKER);
    let mark = scene.layout.bridge_alias();
    let bridge = "banger0".to_owned().try_into().unwrap();
    let gatekeeper = Gatekeeper::IptablesNft;
    let permit = Resource::Permit { gatekeeper, mark, bridge, dns: None };
    let before = rules();
    scene.ensure(&permit);
    assert!(rules().contains("br-"), "{}", rules());
    // A network more changes nothing; what was printed is understood.
    meddle("-A FORWARD -o br-0f1e2d3c4b5a -j DOCKER");
    assert_eq!(scene.host.ensure(&permit).unwrap(), Change::Unchanged);
    meddle("-D FORWARD -o br-0f1e2d3c4b5a -j DOCKER");
    scene.remove(&permit);
    assert_eq!(rules(), before);
    scene.finish();
}

#[test]
fn a_guest_without_nat_gains_nothing_by_a_permit() {
    let mut stage = Stage::new();
    lay("iptables-nft-restore", DOCKER);
    let permit = permit(&stage, Gatekeeper::IptablesNft);
    stage.scene.ensure(&permit);
    assert_eq!(stage.exchange(), [true, true]);
    let Wires { heron, world, .. } = &mut stage.wires;
    heron.send(&udp(HERON, WORLD, 3001));
    UdpSocket::bind((HOST, 0)).unwrap().send_to(b"", (WORLD, MARK)).unwrap();
    assert!(until_mark(world).iter().all(|seen| seen.to_port != 3001));
    stage.scene.remove(&permit);
    stage.finish();
}

#[test]
fn what_somebody_has_taken_away_is_not_missed_and_what_is_theirs_stays() {
    let mut stage = Stage::new();
    lay("iptables-nft-restore", DOCKER);
    let permit = permit(&stage, Gatekeeper::IptablesNft);
    stage.scene.ensure(&permit);
    meddle("-F DOCKER-USER\n-F INPUT\n-A DOCKER-USER -s 192.0.2.1/32 -j DROP");
    let theirs = rules();
    assert_eq!(stage.scene.host.remove(&permit).unwrap(), Change::Unchanged);
    assert_eq!(rules(), theirs);
    stage.scene.ensure(&permit);
    assert_eq!(stage.exchange(), [true, true]);
    stage.scene.remove(&permit);
    assert_eq!(rules(), theirs);
    stage.finish();
}

#[test]
fn a_table_that_iptables_cannot_read_hides_nothing_of_bangers() {
    let scene = Scene::new();
    // As people write it; iptables takes the table for its own, and cannot print it.
    lay_nft(
        "table ip filter {
           chain FORWARD {
             type filter hook forward priority filter; policy drop;
             ct state vmap { established : accept, invalid : drop }
           }
         }",
    );
    scene.finish();
}

#[test]
fn a_table_of_somebodys_own_is_seen_and_one_that_lets_the_bridge_through_is_no_obstacle() {
    let mut stage = Stage::new();
    lay_nft(
        "table inet filter {
           chain forward {
             type filter hook forward priority filter; policy drop;
             ct state vmap { established : accept, related : accept, invalid : drop }
           }
         }",
    );
    assert_eq!(stage.exchange(), [false, false]);
    let seen = |fate| ("the nft table inet filter".to_owned(), None, Concern::Beyond, fate);
    assert_eq!(stage.seen(), [seen(Fate::Refused)]);
    lay_nft("insert rule inet filter forward iifname br-test accept");
    assert_eq!(stage.exchange(), [true, true]);
    assert_eq!(stage.seen(), [seen(Fate::Passes)]);
    stage.finish();
}
