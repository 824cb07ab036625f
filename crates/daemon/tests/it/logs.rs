//! A VM's logs as streams.

use crate::server::Server;
use banger_host::Pace;
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
