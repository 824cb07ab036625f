//! A VM's logs as streams.

use crate::server::Server;
use banger_core::guest::Stage;
use banger_host::{GuestScript, Pace};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_log_is_its_file_or_its_last_lines() {
    let server = Server::start().await;
    server.run_vm("otter").await;
    let console =
        server.get("/v1/vms/otter").await.json()["console_log"].as_str().unwrap().to_owned();
    let whole = server.get("/v1/vms/otter/logs").await;
    assert_eq!(whole.text, std::fs::read_to_string(console).unwrap());
    assert!(whole.text.contains("banger-init: handover"));
    let tail = server.get("/v1/vms/otter/logs?tail=2&source=console").await.text;
    assert!(whole.text.ends_with(&tail) && tail.lines().count() == 2, "{tail:?}");
}

#[tokio::test]
async fn each_boot_has_a_log_and_the_one_before_can_be_read() {
    let server = Server::start().await;
    server.run_vm("otter").await;
    let first = server.get("/v1/vms/otter/logs").await.text;
    let none = server.get("/v1/vms/otter/logs?previous=true").await;
    assert_eq!((none.status, none.text.as_str()), (200, ""));
    server.ask("POST", "/v1/vms/otter/restart", "").await.outcome();
    let before = server.get("/v1/vms/otter/logs?previous=true").await.text;
    assert!(before.starts_with(&first) && before.ends_with("reboot: Restarting system\r\n"));
    let second = server.get("/v1/vms/otter/logs").await.text;
    assert_eq!(second.matches("banger-init: start").count(), 1, "{second}");
}

#[tokio::test]
async fn a_running_guest_that_prints_without_end_is_cut_short() {
    let server = Server::start().await;
    server.run_vm("otter").await;
    let path = server.get("/v1/vms/otter").await.json()["console_log"].as_str().unwrap().to_owned();
    let mut console = OpenOptions::new().append(true).open(&path).unwrap();
    let bounded = async {
        loop {
            console.write_all(&[b"again and again\n".repeat(8 << 10)].concat()).unwrap();
            let meta = console.metadata().unwrap();
            if meta.len() > 4 << 20 && meta.blocks() * 512 < 3 << 20 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, bounded).await.expect("the log is cut while the guest writes");
    console.write_all(b"the last word\n").unwrap();
    let log = server.get("/v1/vms/otter/logs").await.text;
    assert!(log.contains("banger-init: handover") && log.ends_with("\nthe last word\n"));
    assert_eq!(log.matches(" are left out here]\n").count(), 1);
}

#[tokio::test]
async fn why_tells_what_stopped_a_guest_also_when_nothing_is_left_of_it() {
    let server = Server::with_sim(|sim| sim.guest = GuestScript::FailsAt(Stage::Root)).await;
    let failed = server.ask("POST", "/v1/vms", r#"{"name":"otter","start":{}}"#).await;
    let hints = failed.events().last().unwrap()["error"]["hints"].to_string();
    assert!(hints.contains("`banger vm logs --why otter`"), "{hints}");
    let gone = server.get("/v1/vms/otter/why").await.json();
    assert_eq!((&gone["vm"], gone["failed_at"].is_string()), (&Value::Null, true));
    assert!(gone["last_error"].as_str().unwrap().contains("simulated failure"), "{gone}");

    server.ask("POST", "/v1/vms", r#"{"name":"heron"}"#).await.outcome();
    server.ask("POST", "/v1/vms/heron/start", "").await;
    let why = server.get("/v1/vms/heron/why").await.json();
    assert_eq!(why["vm"]["state"], "stopped");
    for why in [gone, why] {
        let stages: Vec<&str> = why["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["stage"].as_str().unwrap())
            .collect();
        assert_eq!(stages, ["start", "modules", "network", "failed"]);
        assert_eq!(why["stages"][3]["during"], "root");
        assert_eq!(why["findings"][0]["telling"], "guest_init_failed");
        let console = why["console"]["lines"].as_array().unwrap();
        assert_eq!(console.iter().filter(|line| line["telling"].is_string()).count(), 1);
        assert!(!why["vmm"]["lines"].as_array().unwrap().is_empty());
    }
    assert_eq!(server.get("/v1/vms/lynx/why").await.status, 404);
}

#[tokio::test]
async fn the_log_of_a_vm_that_never_ran_is_empty() {
    let server = Server::start().await;
    server.ask("POST", "/v1/vms", r#"{"name":"otter"}"#).await.outcome();
    let answer = server.get("/v1/vms/otter/logs?source=vmm").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
}

#[tokio::test]
async fn a_followed_log_goes_on_until_the_vm_is_deleted() {
    let server = Server::with_sim(|sim| {
        sim.pace = Pace { boot: Duration::from_secs(1), shutdown: Duration::ZERO };
    })
    .await;
    server.ask("POST", "/v1/vms", r#"{"name":"otter"}"#).await.outcome();
    let mut log = server.open("GET", "/v1/vms/otter/logs?follow=true", "").await;
    server.ask("POST", "/v1/vms/otter/start", r#"{"wait":"none"}"#).await.outcome();
    timeout(SOON, log.until("banger-init: handover")).await.expect("the guest boots");
    server.ask("DELETE", "/v1/vms/otter", "").await.outcome();
    let rest = async { while log.next().await.is_some() {} };
    timeout(SOON, rest).await.expect("the stream ends with the VM");
}

#[tokio::test]
async fn a_followed_log_does_not_keep_the_daemon() {
    let mut server = Server::start().await;
    server.run_vm("otter").await;
    let mut log = server.open("GET", "/v1/vms/otter/logs?follow=true", "").await;
    log.until("simulated login").await;
    server.signal();
    let rest = async { while log.next().await.is_some() {} };
    timeout(Duration::from_secs(3), rest).await.expect("the stream ends with the daemon");
    server.ended().await;
}
