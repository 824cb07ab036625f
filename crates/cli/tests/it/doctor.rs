//! What `banger doctor` makes of what the daemon says.

use crate::fake::{Answer, Fake};
use crate::reading::status;
use crate::transcript::{against, script, transcript};
use hyper::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};

fn audit(clean: bool) -> Value {
    let leaked = json!({ "key": "vm/0f5k2m9q/tap", "object": "bgabcdetap" });
    if clean {
        json!({ "audit": { "leaked": [], "missing": [] }, "inventory": [] })
    } else {
        json!({
            "audit": { "leaked": [leaked], "missing": ["instance/bridge"] },
            "inventory": ["bgabcdetap"],
        })
    }
}

fn kvm(verdict: &str) -> Value {
    json!({
        "scope": "vm", "name": "kvm", "verdict": verdict, "found": ["there is no `/dev/kvm`"],
        "hints": ["load `kvm_amd`"], "source": "vmm (/etc/b/config.toml)",
    })
}

fn room() -> Value {
    json!({ "scope": "disk", "name": "room", "verdict": "pass", "found": ["9.0 GiB are left"] })
}

/// What a run with `ssh` in the path came to.
fn doctor(fake: &Fake, args: &[&str]) -> String {
    script(fake.dir(), "ssh", "exit 0");
    let args = [&["doctor"], args].concat();
    let output = against(fake, &args).env("PATH", fake.dir()).output().unwrap();
    transcript(&output, fake.dir())
}

#[test]
fn a_leak_is_a_failure_and_is_named() {
    let fake = Fake::new()
        .get("/v1/daemon", status())
        .get("/v1/doctor", json!({ "checks": [kvm("warn"), room()] }))
        .get("/v1/audit", audit(false))
        .serve();
    assert_snapshot!(doctor(&fake, &[]), @r"
    exit: 1
    --- stdout
    SCOPE   CHECK            FOUND
    daemon  daemon     ok    bangerd 0.1.0, pid 12
            metrics    ok    http://127.0.0.1:9469/metrics
    vm      kvm        warn  there is no `/dev/kvm`
                             by vmm (/etc/b/config.toml)
                             hint: load `kvm_amd`
    ssh     ssh        ok    [DIR]/ssh
    disk    room       ok    9.0 GiB are left
    dns     dns        ok    127.0.0.1:42069; records: 1, queries answered: 12
            guest dns  ok    172.16.0.1:42069; asked for other names: 9.9.9.9, 10.0.0.1
            host dns   ok    systemd-resolved asks for names under `vm`, on banger0
    leaks   leaks      FAIL  leaked: bgabcdetap (vm/0f5k2m9q/tap)
                             missing: instance/bridge
                             hint: `banger daemon restart` settles the difference; VMs go on
    --- stderr
    ");
}

#[test]
fn a_host_that_does_not_know_names_is_told_what_to_do() {
    let mut status = status();
    let problem = "systemd-resolved does not run";
    status["dns"]["host"] = json!({
        "state": "absent", "link": null, "problem": problem, "recipe": "dnsmasq",
    });
    let fake = Fake::new().get("/v1/daemon", status).serve();
    assert_snapshot!(doctor(&fake, &["dns"]), @r#"
    exit: 0
    --- stdout
    SCOPE  CHECK            FOUND
    dns    dns        ok    127.0.0.1:42069; records: 1, queries answered: 12
           guest dns  ok    172.16.0.1:42069; asked for other names: 9.9.9.9, 10.0.0.1
           host dns   warn  VMs' names are not known: systemd-resolved does not run
                            hint: put `server=/vm/127.0.0.1#42069` into /etc/dnsmasq.d/banger.conf and restart dnsmasq: docs/dns.md, "dnsmasq"
    --- stderr
    "#);
}

#[test]
fn warnings_alone_are_no_failure() {
    let fake = Fake::new()
        .get("/v1/daemon", status())
        .get("/v1/doctor", json!({ "checks": [kvm("warn")] }))
        .get("/v1/audit", audit(true))
        .serve();
    let said = doctor(&fake, &[]);
    assert!(said.starts_with("exit: 0\n"), "{said}");
    assert!(said.contains("none; 0 objects on the host, all accounted for"), "{said}");
}

#[test]
fn an_address_for_metrics_that_is_held_by_another_is_a_failure() {
    let mut status = status();
    let problem = "127.0.0.1:9469 is held by `node_exporter` (pid 7)";
    status["metrics"] =
        json!({ "state": "failed", "address": "127.0.0.1:9469", "problem": problem });
    let fake = Fake::new().get("/v1/daemon", status).serve();
    assert_snapshot!(doctor(&fake, &["daemon"]), @r"
    exit: 1
    --- stdout
    SCOPE   CHECK          FOUND
    daemon  daemon   ok    bangerd 0.1.0, pid 12
            metrics  FAIL  on the socket alone, trying again: 127.0.0.1:9469 is held by `node_exporter` (pid 7)
                           hint: end the other program, or set another `metrics_listen` in the configuration file
    --- stderr
    ");
}

#[test]
fn one_scope_asks_for_nothing_else() {
    let answer = json!({ "checks": [kvm("fail")] });
    let fake = Fake::new().get("/v1/doctor?scope=vm", answer).serve();
    assert_snapshot!(doctor(&fake, &["vm"]), @r"
    exit: 1
    --- stdout
    SCOPE  CHECK        FOUND
    vm     kvm    FAIL  there is no `/dev/kvm`
                        by vmm (/etc/b/config.toml)
                        hint: load `kvm_amd`
    --- stderr
    ");
    assert_eq!(fake.asked(), ["GET /v1/doctor?scope=vm"]);
}

#[test]
fn leaks_alone_compare_both_ways() {
    let fake = Fake::new().get("/v1/audit", audit(false)).serve();
    assert_snapshot!(doctor(&fake, &["--leaks"]), @r"
    exit: 1
    --- stdout
    SCOPE  CHECK        FOUND
    leaks  leaks  FAIL  leaked: bgabcdetap (vm/0f5k2m9q/tap)
                        missing: instance/bridge
                        hint: `banger daemon restart` settles the difference; VMs go on
    --- stderr
    ");
    let fake = Fake::new().get("/v1/audit", audit(true)).serve();
    assert!(doctor(&fake, &["--leaks"]).starts_with("exit: 0\n"));
    assert_eq!(fake.asked(), ["GET /v1/audit"]);
}

#[test]
fn a_report_is_a_document() {
    let fake = Fake::new().get("/v1/doctor?scope=disk", json!({ "checks": [room()] })).serve();
    let output = against(&fake, &["--json", "doctor", "disk"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ok"], true);
    assert_eq!(document["checks"][0]["found"], json!(["9.0 GiB are left"]));
}

#[test]
fn what_the_daemon_cannot_say_is_a_failure_and_the_rest_is_told() {
    let defect = json!({ "code": "internal", "message": "the store is broken" });
    let fake = Fake::new()
        .get("/v1/daemon", status())
        .on(Method::GET, "/v1/doctor", Answer::Json(500, defect))
        .get("/v1/audit", audit(true))
        .serve();
    let said = doctor(&fake, &[]);
    assert!(said.starts_with("exit: 1\n") && said.contains("the store is broken"), "{said}");
    assert!(said.contains("all accounted for"), "{said}");
}

#[test]
fn a_scope_that_is_none_is_refused_with_the_known_ones() {
    let said = doctor(&Fake::new(), &["kvm"]);
    assert!(said.contains("`kvm` is no scope; it is one of `daemon`, `vm`, `nat`"), "{said}");
}

/// What the daemon says of a firewall.
fn firewall(verdict: &str, found: &str) -> Value {
    json!({ "checks": [{
        "scope": "network", "name": "firewall", "verdict": verdict, "found": [found],
    }] })
}

fn done(lines: &[&str]) -> Answer {
    Answer::Json(200, json!({ "done": lines }))
}

const PUT: &str = "put rules with the comment `banger:abcde` in front of those of iptables-nft";

#[test]
fn a_fix_says_what_it_did_and_how_it_stands_then() {
    let fake = Fake::new()
        .on(Method::POST, "/v1/doctor/fix", done(&[PUT]))
        .get("/v1/doctor?scope=network", firewall("pass", "Docker lets VMs' packets through"))
        .serve();
    assert_snapshot!(doctor(&fake, &["network", "--fix"]), @r"
    exit: 0
    --- stdout
    put rules with the comment `banger:abcde` in front of those of iptables-nft

    SCOPE    CHECK         FOUND
    network  firewall  ok  Docker lets VMs' packets through
    --- stderr
    ");
    assert_eq!(fake.asked(), ["POST /v1/doctor/fix", "GET /v1/doctor?scope=network"]);
    assert_snapshot!(doctor(&fake, &["network", "--fix", "--json"]), @r#"
    exit: 0
    --- stdout
    {
      "ok": true,
      "done": [
        "put rules with the comment `banger:abcde` in front of those of iptables-nft"
      ],
      "checks": [
        {
          "scope": "network",
          "name": "firewall",
          "verdict": "pass",
          "found": [
            "Docker lets VMs' packets through"
          ],
          "hints": []
        }
      ]
    }
    --- stderr
    "#);
}

#[test]
fn what_a_fix_cannot_mend_is_still_a_failure() {
    let found = "the nft table inet filter drops what VMs exchange with the world";
    let fake = Fake::new()
        .on(Method::POST, "/v1/doctor/fix", done(&[]))
        .get("/v1/doctor?scope=network", firewall("fail", found))
        .serve();
    assert_snapshot!(doctor(&fake, &["network", "--fix"]), @r"
    exit: 1
    --- stdout
    there is nothing that banger can mend

    SCOPE    CHECK           FOUND
    network  firewall  FAIL  the nft table inet filter drops what VMs exchange with the world
    --- stderr
    ");
}

#[test]
fn an_undo_says_what_is_gone_and_checks_nothing() {
    let line = "took `banger0` out of firewalld's zone `trusted`";
    let fake = Fake::new().on(Method::POST, "/v1/doctor/undo", done(&[line])).serve();
    assert_snapshot!(doctor(&fake, &["network", "--undo"]), @r"
    exit: 0
    --- stdout
    took `banger0` out of firewalld's zone `trusted`
    --- stderr
    ");
    assert_eq!(fake.asked(), ["POST /v1/doctor/undo"]);
    let fake = Fake::new().on(Method::POST, "/v1/doctor/undo", done(&[])).serve();
    assert!(doctor(&fake, &["network", "--undo"]).contains("there is nothing to undo\n"));
}

#[test]
fn a_fix_is_for_the_network_alone() {
    let fake = Fake::new().serve();
    assert_snapshot!(doctor(&fake, &["vm", "--fix"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: `--fix` and `--undo` are for `network` alone
    hint: `banger doctor network --fix`
    ");
    for args in [&["--fix"][..], &["network", "--fix", "--undo"], &["--leaks", "--undo"]] {
        assert!(doctor(&fake, args).starts_with("exit: 2\n"), "{args:?}");
    }
    assert_eq!(fake.asked(), [""; 0]);
}
