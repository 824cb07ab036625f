//! Two VMs at once, and what each of them reaches.

use crate::stage::{ResolvConf, Server, Site, World, assert_web_reached_by_name, lookup, until};
use std::net::Ipv4Addr;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(400);
const HOST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);

#[test]
fn two_vms_reach_the_host_and_only_with_nat_each_other_and_the_world() {
    // Here the host's programs ask the daemon itself.
    let names = format!("nameservers = ['{}']", World::SERVER);
    let mut site = Site::with(&[names, "dns_listen = '127.0.0.1:53'".to_owned()]);
    let _conf = ResolvConf::naming("127.0.0.1");
    let world = World::new();
    site.own_links();
    site.banger(&["daemon", "start"]).ok();
    let otter = site.begin_boot(&["vm", "create", "--name", "otter", "--nat"]);
    let heron = site.begin_boot(&["vm", "create", "--name", "heron", "--no-nat"]);
    otter.within(BOOT).shows("otter: ready in ");
    heron.within(BOOT).shows("heron: ready in ");

    reach_the_host_at_the_bridges_address(&site);
    know_each_others_names_and_with_nat_the_worlds(&site, &world);
    only_with_nat_the_world(&site, &world);
    only_with_nat_each_other(&site);
    assert_web_reached_by_name(&site, "heron");
    several_at_once(&site);
    site.finish();
}

fn reach_the_host_at_the_bridges_address(site: &Site) {
    let bridge = Server::start(HOST, 7001);
    let elsewhere = Server::start(World::HOST.parse().unwrap(), 7001);
    for name in ["otter", "heron"] {
        let own = site.text(name, "ip");
        let line = format!("curl -sS -m 30 http://{HOST}:7001/");
        assert_eq!(site.ssh(name, &line), format!("you are {own}\n"), "{name}");
        assert_eq!(bridge.callers(), [own], "guests have their own address on the bridge");
        let refused = site.ssh(name, &call(&format!("http://{}:7001/", World::HOST)));
        assert!(refused.ends_with("code 28\n"), "{name}: {refused}");
    }
    assert_eq!(elsewhere.callers(), [""; 0]);
}

/// What an address is found by in a guest; nothing where it is not found.
fn resolve(site: &Site, name: &str, asked: &str) -> String {
    let line = format!("getent ahostsv4 {asked} | cut -d' ' -f1 | sort -u");
    site.ssh(name, &line).trim_end().to_owned()
}

/// `otter` has NAT and `heron` has not.
fn know_each_others_names_and_with_nat_the_worlds(site: &Site, world: &World) {
    let [otter, heron] = ["otter", "heron"].map(|name| site.text(name, "ip"));
    for (name, other, address) in [("otter", "heron", &heron), ("heron", "otter", &otter)] {
        assert_eq!(resolve(site, name, other), *address, "{name}");
        assert_eq!(resolve(site, name, &format!("app.{other}.vm")), *address, "{name}");
        assert_eq!(resolve(site, name, "lynx.vm"), "", "{name}");
    }
    assert_eq!(resolve(site, "heron", "example.org"), "");
    assert!(!world.names().contains("example.org"), "it is not asked for by heron");
    assert_eq!(resolve(site, "otter", "example.org"), World::SERVER);
    let asked = world.names();
    assert!(asked.contains("example.org"), "{asked:?}");
    assert!(asked.iter().all(|name| !name.ends_with("vm")), "VMs' names stay here: {asked:?}");
    let status = site.daemon()["dns"].clone();
    let address = status["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(lookup(address, "otter.vm").as_ref(), Some(&otter), "from the host");
    assert_eq!(status["guests"]["state"], "serving");
    assert_eq!(status["guests"]["upstreams"][0], format!("{}:53", World::SERVER));
}

/// A line for a guest's shell, as [`World::CALL`].
fn call(what: &str) -> String {
    format!("curl -sS -m 6 {what} 2>&1 || echo code $?")
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
        assert_eq!(world.callers(), [World::HOST]);
        let known = [with, without].map(|name| resolve(site, name, "example.org"));
        assert_eq!(known, [World::SERVER, ""], "{with} is told others' names");
        let refused = site.ssh(without, World::CALL);
        assert!(refused.ends_with("code 28\n"), "{without}: {refused}");
        let refused = site.ssh(without, &call_as(&site.text(with, "ip")));
        assert!(refused.ends_with("code 28\n"), "{without} as {with}: {refused}");
        assert_eq!(world.callers(), [""; 0]);
    }
    assert_eq!(before, pids());
}

/// A line for a guest's shell: as [`World::CALL`], from an address that is another's.
fn call_as(address: &str) -> String {
    let link = "$(ip -o -4 route show default | cut -d' ' -f5)";
    let call = call(&format!("--interface {address} http://10.77.0.2:7000/"));
    format!(
        "ip address add {address}/32 dev {link} && {{ {call}; }}; \
         ip address del {address}/32 dev {link}"
    )
}

/// `heron` has NAT, and then `otter` too.
fn only_with_nat_each_other(site: &Site) {
    let ping = |name: &str, other: &str, wait: u8| {
        let line = format!("ping -c 1 -w {wait} {other} > /dev/null && echo pong || echo silence");
        site.ssh(name, &line)
    };
    for (name, other) in [("otter", "heron"), ("heron", "otter")] {
        assert_eq!(ping(name, other, 5), "silence\n", "{name}");
    }
    site.banger(&["vm", "set", "otter", "--nat"]).ok();
    for (name, other) in [("otter", "heron"), ("heron", "otter")] {
        assert_eq!(ping(name, other, 30), "pong\n", "{name}");
    }
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
