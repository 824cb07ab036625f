//! `banger dns`.

use crate::fake::{Answer, Fake};
use crate::reading::status;
use crate::transcript::banger;
use hyper::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};

fn dns(host: Value) -> Value {
    let mut dns = status()["dns"].clone();
    dns["host"] = host;
    dns
}

#[test]
fn the_status_says_who_knows_names() {
    let fake = Fake::new().get("/v1/dns", status()["dns"].clone()).serve();
    assert_snapshot!(banger(&fake, &["dns", "status"]), @r"
    exit: 0
    --- stdout
    server  127.0.0.1:42069; records: 1, queries answered: 12
    guests  172.16.0.1:42069; asked for other names: 9.9.9.9, 10.0.0.1
    host    systemd-resolved asks for names under `vm`, on banger0
    --- stderr
    ");
}

#[test]
fn each_other_state_has_its_words() {
    let said = |host: Value| {
        let fake = Fake::new().get("/v1/dns", dns(host)).serve();
        let text = banger(&fake, &["dns", "status"]);
        text.lines().skip(4).take_while(|line| *line != "--- stderr").collect::<Vec<_>>().join("\n")
    };
    let problem = "systemd-resolved does not run";
    let absent =
        |recipe: &str| said(json!({ "state": "absent", "problem": problem, "recipe": recipe }));
    let all = [
        said(json!({ "state": "waiting" })),
        said(json!({ "state": "off", "problem": "the host is simulated" })),
        said(json!({ "state": "failed", "problem": "systemd-resolved refused `SetLinkDNSEx`" })),
        absent("network_manager"),
        absent("dnsmasq"),
        absent("unbound"),
        absent("resolv_conf"),
    ];
    assert_snapshot!(all.join("\n"), @r#"
    host    systemd-resolved is told with the first VM that runs
    host    off: the host is simulated
    host    systemd-resolved does not take it, trying again: systemd-resolved refused `SetLinkDNSEx`
    host    VMs' names are not known: systemd-resolved does not run
    to do   have NetworkManager run dnsmasq, with `server=/vm/127.0.0.1#42069` in /etc/NetworkManager/dnsmasq.d/banger.conf: docs/dns.md, "NetworkManager"
    host    VMs' names are not known: systemd-resolved does not run
    to do   put `server=/vm/127.0.0.1#42069` into /etc/dnsmasq.d/banger.conf and restart dnsmasq: docs/dns.md, "dnsmasq"
    host    VMs' names are not known: systemd-resolved does not run
    to do   put a `stub-zone` for `vm.` with `stub-addr: 127.0.0.1@42069` into /etc/unbound/unbound.conf.d/banger.conf: docs/dns.md, "unbound"
    host    VMs' names are not known: systemd-resolved does not run
    to do   /etc/resolv.conf can name neither a port nor a zone: install systemd-resolved, or dnsmasq with `server=/vm/127.0.0.1#42069`: docs/dns.md, "Only a resolv.conf"
    "#);
}

#[test]
fn what_was_switched_is_told() {
    let off = json!({ "state": "off", "problem": "`banger dns uninstall` has switched it off" });
    let fake = Fake::new()
        .on(Method::POST, "/v1/dns/uninstall", Answer::Json(200, dns(off)))
        .on(Method::POST, "/v1/dns/install", Answer::Json(200, dns(json!({ "state": "waiting" }))))
        .serve();
    assert_snapshot!(banger(&fake, &["dns", "uninstall"]), @r"
    exit: 0
    --- stdout
    off: `banger dns uninstall` has switched it off
    --- stderr
    ");
    assert_snapshot!(banger(&fake, &["dns", "install"]), @r"
    exit: 0
    --- stdout
    systemd-resolved is told with the first VM that runs
    --- stderr
    ");
}
