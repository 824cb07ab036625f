//! Guests behind what keeps a host's packets back: the real firewalld, and forwarding that somebody has
//! switched off. In the testbed alone, as the resolvers are.

use crate::stage::{Site, World, start_bus, start_firewalld, tool, until};
use std::fs;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(400);
/// How long a firewall may take to begin: firewalld is a Python program that reads many files first.
const BEGIN: Duration = Duration::from_secs(180);
/// Whether the host passes packets on between its links.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const REFUSED: &str = "firewalld drops what VMs on `banger0` exchange with the world";
const PUT: &str = "put `banger0` into firewalld's zone `trusted`, until firewalld reloads";

#[test]
fn guests_get_through_once_the_host_is_told_to_let_them() {
    let mut site = Site::with(&[format!("nameservers = ['{}']", World::SERVER)]);
    let world = World::new();
    site.own_links();
    site.banger(&["daemon", "start"]).ok();
    let otter = site.begin_boot(&["vm", "create", "--name", "otter"]);
    otter.within(BOOT).shows("otter: ready in ");
    assert_through(&site, &world);
    forwarding_is_switched_on_again(&site, &world);

    let bus = start_bus();
    let firewalld = start_firewalld(BEGIN);
    firewalld_keeps_them_back_until_told(&site, &world);
    a_daemon_that_starts_tells_a_firewalld_that_has_forgotten(&site, &world);
    an_undo_has_it_keep_them_back_again(&site, &world);
    an_uninstall_undoes_it_too(&site);
    firewalld.end();
    bus.end();

    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

#[track_caller]
fn assert_through(site: &Site, world: &World) {
    assert_eq!(site.ssh("otter", World::CALL), format!("you are {}\n", World::HOST));
    assert_eq!(world.callers(), [World::HOST]);
    assert_eq!(names_known(site), World::SERVER);
}

#[track_caller]
fn assert_kept_back(site: &Site, world: &World) {
    let refused = site.ssh("otter", World::CALL);
    assert!(refused.contains("\ncode "), "{refused}");
    assert_eq!(world.callers(), [""; 0]);
}

/// What a guest takes for the address of a name of the world's.
fn names_known(site: &Site) -> String {
    let line = "getent ahostsv4 example.org | cut -d' ' -f1 | sort -u";
    site.ssh("otter", line).trim_end().to_owned()
}

fn zone() -> String {
    tool("firewall-cmd", &["--zone=trusted", "--list-interfaces"]).trim_end().to_owned()
}

fn firewalld_keeps_them_back_until_told(site: &Site, world: &World) {
    assert_kept_back(site, world);
    // It takes what the firewall has turned to the daemon's port, as it says of all such packets.
    assert_eq!(names_known(site), World::SERVER);
    let doctor = site.banger(&["doctor", "network"]);
    doctor.code(1).shows(REFUSED).shows("`banger doctor network --fix` has it let them through");
    let fixed = site.banger(&["doctor", "network", "--fix"]);
    fixed.shows(PUT).shows("firewalld lets VMs' packets through");
    assert_eq!(zone(), "banger0");
    assert_through(site, world);
    site.banger(&["doctor", "network", "--fix"]).shows("there is nothing that banger can mend");
}

fn a_daemon_that_starts_tells_a_firewalld_that_has_forgotten(site: &Site, world: &World) {
    tool("firewall-cmd", &["--reload"]);
    assert_eq!(zone(), "");
    assert_kept_back(site, world);
    site.banger(&["daemon", "stop"]).ok();
    site.banger(&["daemon", "start"]).ok();
    until("the bridge is in its zone", BEGIN, || zone() == "banger0");
    assert_through(site, world);
}

fn an_undo_has_it_keep_them_back_again(site: &Site, world: &World) {
    let undone = site.banger(&["doctor", "network", "--undo"]);
    undone.shows("took `banger0` out of firewalld's zone `trusted`");
    assert_eq!(zone(), "");
    assert_kept_back(site, world);
    site.banger(&["doctor", "network", "--undo"]).shows("there is nothing to undo");
}

fn an_uninstall_undoes_it_too(site: &Site) {
    site.banger(&["doctor", "network", "--fix"]).shows(PUT);
    let refused = site.banger(&["uninstall"]);
    refused.code(1).says("error: cannot uninstall while VMs are not stopped: `otter` (running)\n");
    assert_eq!(zone(), "banger0", "nothing is taken back then");
    site.banger(&["vm", "stop", "otter"]).ok();
    let undone = site.banger(&["uninstall"]);
    undone.shows("took `banger0` out of firewalld's zone `trusted`\nthe daemon has stopped\n");
    assert_eq!(zone(), "");
    let gone = site.banger(&["daemon", "status"]);
    gone.code(1);
}

fn forwarding_is_switched_on_again(site: &Site, world: &World) {
    fs::write(FORWARDING, "0").unwrap();
    assert_kept_back(site, world);
    site.banger(&["doctor", "network"]).code(1).shows("it is off, though VMs with NAT run");
    let fixed = site.banger(&["doctor", "network", "--fix"]);
    fixed.shows("switched `net.ipv4.ip_forward` on");
    assert_eq!(fs::read_to_string(FORWARDING).unwrap(), "1\n");
    assert_through(site, world);
}
