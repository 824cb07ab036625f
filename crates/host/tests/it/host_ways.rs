//! Default routes on bonds and VPNs: which way guests' packets take, whether they come back, and
//! whether the kernel's own answers say so beforehand.

use crate::host_gates::{Path, Stage, exchange};
use crate::wire::{Kind, Wire, ip, mac_text};
use banger_host::facts::{Obstructed, Rival, Ways};
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Somewhere beyond.
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const FAR_MAC: [u8; 6] = [6, 0, 10, 9, 0, 2];

/// Another link to the world.
pub(crate) fn second(name: &str) -> Wire {
    ip(&["tuntap", "add", name, "mode", "tap"]);
    ip(&["addr", "add", &format!("{NEAR}/24"), "dev", name]);
    let wire = Wire::attach(name, name, FAR_MAC, &Kind::Plain);
    ip(&["link", "set", name, "up"]);
    ip(&["neigh", "add", &FAR.to_string(), "lladdr", &mac_text(FAR_MAC), "dev", name]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ip(&["-o", "link", "show", name]).contains("LOWER_UP") {
        assert!(Instant::now() < deadline, "the link has no carrier");
    }
    wire
}

fn ways(stage: &Stage) -> Ways {
    stage.facts().ways.unwrap()
}

/// The links by which the host's packets leave, guests', and answers to them.
fn links(stage: &Stage) -> [String; 3] {
    let Ways { own, guests, answers, home } = ways(stage);
    assert_eq!(home.unwrap().unwrap().link, "br-test");
    [own, guests.unwrap(), answers.unwrap()].map(|way| way.unwrap().link)
}

fn is_reached(stage: &mut Stage, far: &mut Wire, port: u16) -> [bool; 2] {
    let path = Path { near: NEAR, neighbour: FAR, far: INTERNET };
    exchange(&mut stage.wires.otter, far, &path, port)
}

#[test]
fn a_default_route_on_a_bond_is_a_way_like_any() {
    let mut stage = Stage::new();
    let mut bond = second("bond0");
    ip(&["route", "replace", "default", "via", &FAR.to_string()]);
    assert_eq!(links(&stage), ["bond0", "bond0", "br-test"]);
    assert_eq!(is_reached(&mut stage, &mut bond, 3001), [true, true]);
    stage.finish();
}

#[test]
fn a_vpn_that_takes_everything_takes_guests_packets_too() {
    let mut stage = Stage::new();
    let mut vpn = second("tun0");
    // As wg-quick(8) lays them for a tunnel to everywhere.
    ip(&["route", "add", "default", "via", &FAR.to_string(), "table", "51820"]);
    ip(&["rule", "add", "not", "fwmark", "51820", "table", "51820"]);
    ip(&["rule", "add", "table", "main", "suppress_prefixlength", "0"]);
    assert_eq!(links(&stage), ["tun0", "tun0", "br-test"]);
    assert_eq!(is_reached(&mut stage, &mut vpn, 3001), [true, true]);
    stage.finish();
}

#[test]
fn a_vpn_for_the_hosts_own_packets_is_told_apart() {
    let mut stage = Stage::new();
    let _vpn = second("tun0");
    ip(&["route", "add", "default", "via", &FAR.to_string(), "table", "100"]);
    ip(&["rule", "add", "iif", "lo", "table", "100"]);
    ip(&["rule", "add", "table", "main", "suppress_prefixlength", "0"]);
    assert_eq!(links(&stage), ["tun0", "world", "br-test"]);
    assert_eq!(stage.exchange(), [true, true]);
    stage.finish();
}

#[test]
fn a_rule_for_the_bridge_leads_guests_into_a_vpn_past_a_strict_reverse_path_filter() {
    let mut stage = Stage::new();
    let mut vpn = second("tun0");
    ip(&["route", "add", "default", "via", &FAR.to_string(), "table", "100"]);
    ip(&["rule", "add", "iif", "br-test", "table", "100"]);
    ip(&["rule", "add", "table", "main", "suppress_prefixlength", "0"]);
    fs::write("/proc/sys/net/ipv4/conf/tun0/rp_filter", "1").unwrap();
    assert_eq!(links(&stage), ["world", "tun0", "br-test"]);
    assert_eq!(is_reached(&mut stage, &mut vpn, 3001), [true, true]);
    stage.finish();
}

#[test]
fn forwarding_that_is_switched_off_shows() {
    let mut stage = Stage::new();
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    assert_eq!(stage.exchange(), [false, false]);
    let facts = stage.facts();
    assert_eq!(facts.forwarding, Some(false));
    assert_eq!(facts.ways.unwrap().guests, Some(Err(Obstructed::NotForwarded)));
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    assert_eq!(stage.exchange(), [true, true]);
    stage.finish();
}

#[test]
fn a_host_without_a_default_route_has_no_way() {
    let stage = Stage::new();
    ip(&["route", "del", "default"]);
    let Ways { own, guests, answers, .. } = ways(&stage);
    assert_eq!((own, guests), (Err(Obstructed::NoRoute), Some(Err(Obstructed::NoRoute))));
    assert_eq!(answers, None);
    stage.finish();
}

#[test]
fn a_vpns_routes_into_the_subnet_are_found_in_every_table() {
    let mut stage = Stage::new();
    let _vpn = second("tun0");
    assert_eq!(stage.facts().rivals, []);
    let rival = |to: &str, prefix, table| Rival {
        to: to.parse().unwrap(),
        prefix,
        link: "tun0".to_owned(),
        table,
    };
    ip(&["route", "add", "172.16.0.0/12", "dev", "tun0"]);
    ip(&["route", "add", "172.17.0.0/16", "dev", "tun0"]);
    let wide = rival("172.16.0.0", 12, 254);
    assert_eq!(stage.facts().rivals, std::slice::from_ref(&wide));
    assert_eq!(ways(&stage).home.unwrap().unwrap().link, "br-test");
    // A table that is asked before the main one, as Tailscale has it.
    ip(&["route", "add", "172.16.0.0/24", "dev", "tun0", "table", "52"]);
    ip(&["rule", "add", "table", "52", "priority", "5270"]);
    let mut rivals = stage.facts().rivals;
    rivals.sort_by_key(|rival| rival.table);
    assert_eq!(rivals, [rival("172.16.0.0", 24, 52), wide]);
    let astray = ways(&stage);
    assert_eq!(astray.home.unwrap().unwrap().link, "tun0");
    assert_eq!(astray.answers.unwrap().unwrap().link, "tun0");
    fs::write("/proc/sys/net/ipv4/conf/br-test/rp_filter", "1").unwrap();
    assert_eq!(ways(&stage).guests, Some(Err(Obstructed::ReversePath)));
    assert_eq!(stage.exchange(), [false, false]);
    ip(&["rule", "del", "table", "52"]);
    assert_eq!(stage.exchange(), [true, true]);
    stage.finish();
}
