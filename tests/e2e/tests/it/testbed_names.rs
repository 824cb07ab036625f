//! The names of VMs on a host with a resolver of its own: systemd-resolved, and each of the recipes
//! in docs/dns.md. In the testbed alone: a machine on which those programs are installed is another
//! one than before.

use crate::stage::{
    Call, QUICK, ResolvConf, Service, Site, address_of, assert_web_reached_by_name,
    end_network_manager, own_dir, start_bus, start_dnsmasq, start_network_manager, start_resolved,
    start_unbound, tool, until,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(400);
/// How long a resolver may take to begin: NetworkManager has much to do before it does.
const BEGIN: Duration = Duration::from_secs(180);
const DOCUMENT: &str = include_str!("../../../../docs/dns.md");

#[test]
fn programs_of_the_host_and_of_guests_reach_a_vm_by_its_name() {
    let site = Site::new();
    let conf = ResolvConf::naming("127.0.0.53");
    let bus = start_bus();
    let resolved = start_resolved();
    site.banger(&["daemon", "start"]).ok();
    let otter = site.begin_boot(&["vm", "create", "--name", "otter"]);
    let heron = site.begin_boot(&["vm", "create", "--name", "heron"]);
    otter.within(BOOT).shows("otter: ready in ");
    heron.within(BOOT).shows("heron: ready in ");
    let ip = site.text("otter", "ip");

    systemd_resolved_knows(&site, &ip);
    web_and_ssh_by_name(&site);
    let resolved = a_resolved_that_starts_anew_is_told_again(resolved, &ip);
    the_user_has_a_say(&site, &ip);
    a_daemon_that_ends_takes_it_back(&site, &ip);
    resolved.end();
    conf.name("127.0.0.1");
    each_recipe_works(&ip);
    bus.end();

    site.banger(&["vm", "delete", "otter", "heron"]).ok();
    site.finish();
}

fn known(ip: &str) {
    until("otter.vm is known", BEGIN, || address_of("otter.vm").as_deref() == Some(ip));
}

fn unknown() {
    until("otter.vm is not known", BEGIN, || address_of("otter.vm").is_none());
}

fn systemd_resolved_knows(site: &Site, ip: &str) {
    known(ip);
    assert_eq!(address_of("app.OTTER.vm").as_deref(), Some(ip));
    assert_eq!(address_of("lynx.vm"), None);
    let hosts = tool("getent", &["hosts", "otter.vm"]);
    assert_eq!(hosts.split_whitespace().collect::<Vec<_>>(), [ip, "otter.vm"]);
    let query = |what: &str| tool("resolvectl", &["query", what]);
    for (what, is) in [("otter.vm", ip), (ip, "otter.vm")] {
        let answer = query(what);
        assert!(answer.starts_with(&format!("{what}: {is}\n")), "{answer}");
    }
    let line = "systemd-resolved asks for names under `vm`, on banger0";
    site.banger(&["dns", "status"]).shows(line);
    let doctor = site.banger(&["doctor", "dns"]);
    let other = site.text("heron", "ip");
    doctor.shows(line).shows(&format!("`heron.vm` is {other} for programs here"));
}

fn web_and_ssh_by_name(site: &Site) {
    assert_web_reached_by_name(site, "heron");

    site.banger(&["ssh-config", "--install"]).ok();
    let config = site.home().join(".ssh/config");
    let config = config.to_str().unwrap();
    for name in ["otter.vm", "app.otter.vm"] {
        let args = ["-F", config, "-o", "ConnectTimeout=60", name, "hostname"];
        let entered = Call::new("ssh", &args).start().within(QUICK);
        assert_eq!((entered.ok(), entered.stderr()), ("otter\n", ""), "{name}");
    }
    site.banger(&["ssh-config", "--uninstall"]).ok();
    assert_eq!(fs::read_to_string(config).unwrap(), "");
}

#[must_use]
fn a_resolved_that_starts_anew_is_told_again(resolved: Service, ip: &str) -> Service {
    resolved.end();
    assert_eq!(address_of("otter.vm"), None);
    let resolved = start_resolved();
    known(ip);
    resolved
}

/// Switched off, it can be told by hand, as the page says.
fn the_user_has_a_say(site: &Site, ip: &str) {
    site.banger(&["dns", "uninstall"]).shows("`banger dns uninstall` has switched it off");
    unknown();
    let by_hand = &blocks("systemd-resolved")[0].1;
    for line in by_hand.lines() {
        let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        tool(words[0], &words[1..]);
    }
    known(ip);
    tool("resolvectl", &["revert", "banger0"]);
    unknown();
    site.banger(&["dns", "install"]).shows("systemd-resolved asks for names under `vm`");
    known(ip);
}

fn a_daemon_that_ends_takes_it_back(site: &Site, ip: &str) {
    let told = || tool("resolvectl", &["dns", "banger0"]).contains(":42069");
    assert!(told());
    site.banger(&["daemon", "stop"]).ok();
    assert!(!told());
    site.banger(&["daemon", "start"]).ok();
    known(ip);
}

fn each_recipe_works(ip: &str) {
    unknown();
    put_in_place("dnsmasq");
    let dnsmasq = start_dnsmasq();
    known(ip);
    known_backwards(ip);
    dnsmasq.end();

    unknown();
    put_in_place("unbound");
    let unbound = start_unbound();
    known(ip);
    known_backwards(ip);
    unbound.end();

    unknown();
    put_in_place("NetworkManager");
    let manager = start_network_manager();
    known(ip);
    known_backwards(ip);
    end_network_manager(manager);
    unknown();
}

fn known_backwards(ip: &str) {
    let hosts = tool("getent", &["hosts", ip]);
    assert_eq!(hosts.split_whitespace().collect::<Vec<_>>(), [ip, "otter.vm"]);
}

/// Writes the files of a recipe, each into a directory with nothing else in it.
fn put_in_place(title: &str) {
    let blocks = blocks(title);
    assert!(!blocks.is_empty(), "there is no recipe for {title}");
    for (file, text) in blocks {
        own_dir(Path::new(&file).parent().unwrap().to_str().unwrap());
        fs::write(file, text).unwrap();
    }
}

/// The blocks of a section, each with what the line before says in back-ticks last: the file that
/// it is for.
fn blocks(title: &str) -> Vec<(String, String)> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {title}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut parts = section.split("```");
    let mut blocks = Vec::new();
    while let (Some(before), Some(block)) = (parts.next(), parts.next()) {
        let file = before.rsplit('`').nth(1).unwrap_or_default();
        let (_language, text) = block.split_once('\n').unwrap();
        blocks.push((file.to_owned(), text.to_owned()));
    }
    blocks
}
