//! Two VMs at once, and what each of them reaches.

use crate::stage::{Server, Site, World, until};
use std::net::Ipv4Addr;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(400);
const HOST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);

#[test]
fn two_vms_reach_each_other_and_only_with_nat_the_world() {
    let mut site = Site::new();
    let world = World::new();
    site.own_links();
    site.banger(&["daemon", "start"]).ok();
    let otter = site.begin_boot(&["vm", "create", "--name", "otter", "--nat"]);
    let heron = site.begin_boot(&["vm", "create", "--name", "heron", "--no-nat"]);
    otter.within(BOOT).shows("otter: ready in ");
    heron.within(BOOT).shows("heron: ready in ");

    reach_each_other_and_the_host(&site);
    only_with_nat_the_world(&site, &world);
    several_at_once(&site);
    site.finish();
}

fn reach_each_other_and_the_host(site: &Site) {
    let host = Server::start(HOST, 7001);
    for (name, other) in [("otter", "heron"), ("heron", "otter")] {
        let (own, other) = (site.text(name, "ip"), site.text(other, "ip"));
        let ping = format!("ping -c 1 -w 30 {other} > /dev/null && echo pong");
        let line = format!("{ping}; curl -sS -m 30 http://{HOST}:7001/");
        assert_eq!(site.ssh(name, &line), format!("pong\nyou are {own}\n"), "{name}");
        assert_eq!(host.callers(), [own], "guests have their own address on the bridge");
    }
}

/// `otter` has NAT and `heron` has not; then it is the other way round, and neither starts again.
fn only_with_nat_the_world(site: &Site, world: &World) {
    let pids = || ["otter", "heron"].map(|name| site.vm(name)["pid"].clone());
    let before = pids();
    for (with, without) in [("otter", "heron"), ("heron", "otter")] {
        if site.vm(with)["spec"]["nat"] == false {
            site.banger(&["vm", "set", without, "--no-nat"]).ok();
            site.banger(&["vm", "set", with, "--nat"]).ok();
        }
        assert_eq!(site.ssh(with, World::CALL), format!("you are {}\n", World::HOST), "{with}");
        let refused = site.ssh(without, World::CALL);
        assert!(refused.ends_with("code 28\n"), "{without}: {refused}");
        assert_eq!(world.callers(), [World::HOST]);
    }
    assert_eq!(before, pids());
}

/// Commands that take several VMs.
fn several_at_once(site: &Site) {
    let stopped = site.banger(&["vm", "stop", "heron", "otter"]);
    assert_eq!(stopped.ok(), "heron: stopped\notter: stopped\n", "in the order given");
    site.assert_quiet();
    let deleted = site.banger(&["vm", "delete", "otter", "nope", "her"]);
    assert_eq!(deleted.code(1).stdout(), "otter: deleted\nheron: deleted\n");
    deleted.says("error: nope: no VM is called `nope`\nhint: `banger vm list` shows all VMs\n");
    until("the list is empty", Duration::from_secs(5), || {
        site.banger(&["--json", "vm", "list"]).json()["vms"].as_array().unwrap().is_empty()
    });
}
