//! The metrics as Prometheus reads them.

use crate::client::{Answer, ask_at};
use crate::program::{Place, Program, reach};
use crate::server::Server;
use banger_host::GuestScript;
use banger_host::cmd::{Cmd, find_program};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

const RUN_OTTER: &str = r#"{"name":"otter","start":{}}"#;

/// The value of a series.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{series}` in:\n{text}")).parse().unwrap()
}

async fn metrics(server: &Server) -> String {
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    answer.text
}

/// A daemon of which all that there is to tell can be told.
async fn eventful() -> (Server, String) {
    let server = Server::start().await;
    server.run_vm("otter").await;
    let text = metrics(&server).await;
    (server, text)
}

#[tokio::test]
async fn what_has_happened_is_counted_and_how_things_are_is_looked_at() {
    let (server, text) = eventful().await;
    let one = |series: &str| assert_eq!(value(&text, series), 1.0, "{series}");
    one(r#"banger_vms{state="running"}"#);
    one(r#"banger_operations_total{operation="create",result="done"}"#);
    for phase in ["host_setup", "start_vmm", "boot", "guest", "ssh"] {
        one(&format!(r#"banger_vm_phase_duration_seconds_count{{phase="{phase}"}}"#));
    }
    assert_eq!(value(&text, r#"banger_vms{state="error"}"#), 0.0);
    let ledger = value(&text, "banger_ledger_resources");
    assert!(ledger > 5.0, "{text}");
    one("banger_dns_names");
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    let id = server.get("/v1/vms/otter").await.json()["id"].as_str().unwrap().to_owned();
    let of = |name: &str, more: &str| {
        value(&text, &format!(r#"{name}{{id="{id}",name="otter"{more}}}"#))
    };
    assert_eq!(of("banger_vm_memory_limit_bytes", ""), f64::from(1 << 30));
    assert_eq!(of("banger_vm_disk_size_bytes", r#",disk="work""#), 8.0 * f64::from(1 << 30));

    server.ask("DELETE", "/v1/vms/otter", "").await.outcome();
    let after = metrics(&server).await;
    assert!(!after.contains("otter"), "a VM's series go with it:\n{after}");
    // The inventory is a minute old at most, and is not taken for each scrape.
    let taken = |text: &str| value(text, "banger_inventory_timestamp_seconds");
    assert!((taken(&after) - taken(&text)).abs() < 1.0, "{after}");
}

#[tokio::test]
async fn failures_are_counted_by_what_failed() {
    let server = Server::with_sim(|sim| {
        sim.faults = vec!["ensure:tap:1".parse().unwrap()];
        sim.guest = GuestScript::FailsAt(banger_core::guest::Stage::Root);
    })
    .await;
    server.ask("POST", "/v1/vms", RUN_OTTER).await;
    let text = metrics(&server).await;
    let count = |series: &str| value(&text, series);
    assert_eq!(count(r#"banger_host_errors_total{verb="ensure",role="tap"}"#), 1.0);
    assert_eq!(count(r#"banger_operations_total{operation="create",result="failed"}"#), 1.0);
    assert_eq!(count(r#"banger_vm_phase_duration_seconds_count{phase="boot"}"#), 0.0);
    assert_eq!(count("banger_vms_ended_by_themselves_total"), 0.0);
    server.ask("POST", "/v1/vms", RUN_OTTER).await;
    let text = metrics(&server).await;
    assert_eq!(value(&text, "banger_vms_ended_by_themselves_total"), 1.0);
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let (_server, text) = eventful().await;
    let check = |text: &str| {
        let cmd = Cmd::new(promtool()).args(["check", "metrics"]);
        cmd.stdin_bytes(text.as_bytes().to_vec()).run()
    };
    check(&text).unwrap();
    let wrong = text.replace("banger_vms ", "banger_vmsTotal ");
    check(&wrong).expect_err("it reads what it is given");
}

/// `cargo xtask test unit` puts it there.
fn promtool() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/promtool");
    find_program(own)
        .or_else(|| find_program("promtool"))
        .expect("promtool is there; `cargo xtask test unit` fetches it")
}

/// Metrics with their type, and with the labels that they have anywhere.
fn served(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            all.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            // A histogram's series have more behind its name.
            let parts = ["", "_bucket", "_count", "_sum"];
            let known = parts.iter().filter_map(|part| name.strip_suffix(part));
            let known = known.into_iter().find(|name| all.contains_key(*name)).unwrap();
            let keys = labels.split("\",").filter_map(|label| label.split_once('='));
            let keys = keys.map(|(key, _)| key.to_owned()).filter(|key| key != "le");
            all.get_mut(known).unwrap().1.extend(keys);
        }
    }
    all
}

#[tokio::test]
async fn the_table_in_the_documentation_is_what_is_served() {
    let (_server, text) = eventful().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observability.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, table) = document.split_once("\n| metric |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let documented: BTreeMap<_, _> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect();
            (cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, served(&text));
}

async fn status(daemon: &Program) -> Value {
    daemon.ask("GET", "/v1/daemon", "").await.json()["metrics"].clone()
}

async fn at(address: &Value, path: &str) -> Answer {
    ask_at(address.as_str().unwrap().parse().unwrap(), path).await
}

#[tokio::test]
async fn an_address_of_the_loopback_interface_has_metrics_and_nothing_else() {
    let place = Place::new();
    let off = place.start(&["--sim"]).await;
    let shown = status(&off).await;
    assert_eq!((&shown["state"], &shown["address"]), (&json!("off"), &Value::Null));
    drop(off);

    let command = place.command(&["--sim"]).env("BANGER_METRICS_LISTEN", "127.0.0.1:0");
    let daemon = place.start_with(command).await;
    let shown = status(&daemon).await;
    assert_eq!(shown["state"], "serving");
    let answer = at(&shown["address"], "/metrics").await;
    assert_eq!((answer.status, value(&answer.text, "banger_ledger_resources")), (200, 0.0));
    for path in ["/v1/vms", "/v1/daemon", "/"] {
        assert_eq!(at(&shown["address"], path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_taken_address_is_told_with_its_holder_and_taken_when_it_is_free() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = holder.local_addr().unwrap();
    let place = Place::new();
    let command = place.command(&["--sim"]).env("BANGER_METRICS_LISTEN", address.to_string());
    let daemon = place.start_with(command).await;
    let shown = status(&daemon).await;
    assert_eq!((&shown["state"], &shown["address"]), (&json!("failed"), &json!(address)));
    let problem = shown["problem"].as_str().unwrap();
    let told = format!("(pid {})", std::process::id());
    assert!(problem.starts_with(&format!("{address} is held by `")), "{problem}");
    assert!(problem.ends_with(&told), "{problem}");
    assert!(place.log().contains(&told), "the log tells the same");
    assert_eq!(daemon.ask("GET", "/metrics", "").await.status, 200, "the socket has them");

    drop(holder);
    reach("another try", async || (status(&daemon).await["state"] == "serving").then_some(()))
        .await;
    assert_eq!(at(&json!(address), "/metrics").await.status, 200);
}
