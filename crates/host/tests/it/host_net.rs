//! Bridge, TAP and nft table.

use crate::scene::Scene;
use banger_core::error::{ErrorCode, Explain};
use banger_core::names::IfName;
use banger_core::net::MacAddr;
use banger_core::resource::{HostAccess, Member, Resource};
use banger_host::cmd::Cmd;
use banger_host::{Change, Host, HostError};
use std::net::Ipv4Addr;

fn bridge(scene: &Scene, subnet: &str) -> Resource {
    Resource::Bridge {
        name: name("br-test"),
        subnet: subnet.parse().unwrap(),
        alias: scene.layout.bridge_alias(),
    }
}

fn name(text: &str) -> IfName {
    IfName::try_from(text.to_owned()).unwrap()
}

fn tap(scene: &Scene, n: u64) -> Resource {
    let (vm, _) = scene.vm(n);
    Resource::Tap { name: scene.layout.tap(&vm), vm, bridge: name("br-test") }
}

/// The firewall with guests that have NAT, by their addresses' last byte.
fn table(scene: &Scene, guests: &[u8]) -> Resource {
    let member = |last: &u8| {
        let ip = Ipv4Addr::new(172, 16, 0, *last).into();
        let tap = scene.layout.tap(&scene.vm((*last).into()).0);
        Member { ip, mac: MacAddr::for_ip(ip), tap, nat: true }
    };
    Resource::Firewall {
        table: scene.layout.nft_table(),
        bridge: name("br-test"),
        subnet: "172.16.0.1/24".parse().unwrap(),
        members: guests.iter().map(member).collect(),
        host_access: HostAccess::Gateway,
        dns_port: None,
    }
}

/// The table as nft shows it.
fn listed(scene: &Scene, family: &str) -> String {
    let table = scene.layout.nft_table();
    let args = ["list", "table", family, table.as_str()];
    String::from_utf8(Cmd::new("nft").args(args).run().unwrap().stdout).unwrap()
}

fn ip(args: &[&str]) -> String {
    String::from_utf8(Cmd::new("ip").args(args).run().unwrap().stdout).unwrap()
}

#[test]
fn a_network_comes_up_is_seen_and_goes() {
    let scene = Scene::new();
    let (table, bridge, tap) =
        (table(&scene, &[2]), bridge(&scene, "172.16.0.1/24"), tap(&scene, 1));
    for resource in [&table, &bridge, &tap] {
        scene.ensure(resource);
    }
    let shown = ip(&["addr", "show", "br-test"]);
    assert!(
        shown.contains("inet 172.16.0.1/24 brd 172.16.0.255") && shown.contains(",UP"),
        "{shown}"
    );
    assert!(!shown.contains("inet6"), "{shown}");
    let Resource::Tap { vm, name, .. } = &tap else { unreachable!() };
    let shown = ip(&["-d", "link", "show", name.as_str()]);
    for part in ["master br-test", ",UP", "tun type tap pi off vnet_hdr on persist on"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(forwarding.trim(), "1");
    let expected = ["instance/bridge".into(), "instance/firewall".into(), format!("vm/{vm}/tap")];
    assert_eq!(scene.keys(), expected);
    for resource in [&tap, &bridge, &table] {
        scene.remove(resource);
    }
    scene.finish();
}

#[test]
fn the_table_follows_the_guests_and_is_restored_when_flushed() {
    let scene = Scene::new();
    scene.ensure(&table(&scene, &[]));
    let shown = |family| listed(&scene, family);
    assert!(!shown("ip").contains("elements"), "{}", shown("ip"));
    scene.ensure(&table(&scene, &[2, 3]));
    assert!(shown("ip").contains("elements = { 172.16.0.2, 172.16.0.3 }"), "{}", shown("ip"));
    scene.ensure(&table(&scene, &[3]));
    assert!(shown("ip").contains("elements = { 172.16.0.3 }"), "{}", shown("ip"));
    assert!(shown("bridge").contains(" . 06:00:ac:10:00:03 . 172.16.0.3 }"), "{}", shown("bridge"));
    Cmd::new("nft").args(["flush", "ruleset"]).run().unwrap();
    scene.ensure(&table(&scene, &[3]));
    scene.remove(&table(&scene, &[]));
    scene.finish();
}

#[test]
fn one_of_the_tables_alone_is_seen_replaced_and_removed() {
    let scene = Scene::new();
    let name = scene.layout.nft_table();
    // As an older daemon leaves it, and as a deletion by hand.
    for family in ["ip", "bridge"] {
        for verb in [Scene::ensure, Scene::remove] {
            Cmd::new("nft").args(["add", "table", family, name.as_str()]).run().unwrap();
            assert_eq!(scene.keys(), ["instance/firewall"], "{family}");
            verb(&scene, &table(&scene, &[2]));
        }
    }
    scene.finish();
}

#[test]
fn a_bridge_of_somebody_else_is_left_alone() {
    let scene = Scene::new();
    ip(&["link", "add", "br-test", "type", "bridge"]);
    let bridge = bridge(&scene, "172.16.0.1/24");
    for outcome in [scene.host.ensure(&bridge), scene.host.remove(&bridge)] {
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NetworkConflict);
        assert_eq!(error.to_string(), "`br-test` exists and is not this daemon's");
    }
    assert!(!ip(&["addr", "show", "br-test"]).contains("inet"));
    scene.finish();
}

#[test]
fn a_bridge_that_a_crash_left_without_its_alias_is_completed() {
    let scene = Scene::new();
    let bridge = bridge(&scene, "172.16.0.1/24");
    scene.ensure(&bridge);
    ip(&["link", "set", "br-test", "down"]);
    ip(&["link", "set", "br-test", "alias", ""]);
    ip(&["addr", "flush", "dev", "br-test"]);
    assert_eq!(scene.keys(), ["instance/bridge"]);
    scene.ensure(&bridge);
    assert!(ip(&["link", "show", "br-test"]).contains(&scene.layout.bridge_alias()));
    scene.remove(&bridge);
    scene.finish();
}

#[test]
fn an_address_in_use_is_named_with_its_interface() {
    let scene = Scene::new();
    ip(&["link", "add", "other0", "type", "bridge"]);
    ip(&["addr", "add", "172.16.9.9/16", "dev", "other0"]);
    let error = scene.host.ensure(&bridge(&scene, "172.16.0.1/24")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkConflict);
    assert_eq!(
        error.to_string(),
        "the bridge address 172.16.0.1/24 is in use: `other0` has 172.16.9.9/16"
    );
    scene.finish();
}

#[test]
fn a_bridge_follows_a_changed_subnet() {
    let scene = Scene::new();
    scene.ensure(&bridge(&scene, "172.16.0.1/24"));
    scene.ensure(&bridge(&scene, "10.9.0.1/20"));
    let shown = ip(&["-4", "addr", "show", "br-test"]);
    assert!(shown.contains("10.9.0.1/20") && !shown.contains("172.16."), "{shown}");
    scene.remove(&bridge(&scene, "172.16.0.1/24"));
    scene.finish();
}

#[test]
fn a_tap_without_its_bridge_is_refused_and_leaves_nothing() {
    let scene = Scene::new();
    let error = scene.host.ensure(&tap(&scene, 1)).unwrap_err();
    assert!(error.to_string().ends_with("there is no bridge `br-test`"), "{error}");
    scene.finish();
}

#[test]
fn a_tap_that_lost_its_bridge_is_attached_again() {
    let scene = Scene::new();
    let (bridge, tap) = (bridge(&scene, "172.16.0.1/24"), tap(&scene, 1));
    scene.ensure(&bridge);
    scene.ensure(&tap);
    scene.remove(&bridge);
    scene.ensure(&bridge);
    scene.ensure(&tap);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn of_many_racing_verbs_each_succeeds() {
    let scene = Scene::new();
    scene.ensure(&bridge(&scene, "172.16.0.1/24"));
    let taps: Vec<Resource> = (0..2).map(|n| tap(&scene, n)).collect();
    let verbs = [Host::ensure, Host::remove];
    for _ in 0..4 {
        for verb in verbs {
            // Threads inherit the namespaces of the thread that starts them.
            let outcomes: Vec<Result<Change, HostError>> = std::thread::scope(|scope| {
                let threads: Vec<_> = [&taps[0], &taps[1], &taps[0], &taps[1]]
                    .map(|tap| scope.spawn(|| verb(&scene.host, tap)))
                    .into();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        }
    }
    scene.remove(&bridge(&scene, "172.16.0.1/24"));
    scene.finish();
}

#[test]
fn a_table_that_is_made_twice_at_once_has_its_rules_once() {
    let scene = Scene::new();
    let wanted = table(&scene, &[2]);
    let rules = || ["ip", "bridge"].map(|family| listed(&scene, family));
    scene.ensure(&wanted);
    let expected = rules();
    for _ in 0..4 {
        scene.remove(&wanted);
        // Threads inherit the namespaces of the thread that starts them.
        let outcomes: Vec<Result<Change, HostError>> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| scene.host.ensure(&wanted)));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(rules(), expected);
    }
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn another_instance_does_not_see_what_is_here() {
    let scene = Scene::new();
    scene.ensure(&bridge(&scene, "172.16.0.1/24"));
    scene.ensure(&tap(&scene, 1));
    scene.ensure(&table(&scene, &[]));
    let other = scene.dir().join("other");
    let layout = banger_core::names::Layout::new(other.clone(), other.join("run")).unwrap();
    let stranger = banger_host::LinuxHost::new(layout);
    assert_eq!(stranger.inventory().unwrap(), []);
    scene.clear().unwrap();
    scene.finish();
}
