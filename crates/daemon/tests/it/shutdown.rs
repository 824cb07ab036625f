//! How a server ends.

use crate::server::{Server, Setup};
use banger_host::{GuestScript, Pace};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_client_can_end_it() {
    let server = Server::start().await;
    let answer = server.ask("POST", "/v1/daemon/stop", "").await;
    assert_eq!((answer.status, answer.text.as_str()), (202, ""));
    let begin = Instant::now();
    server.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(3), "nothing was under way");
}

#[tokio::test]
async fn an_operation_under_way_is_broken_off_with_a_word_and_its_vm_goes_on() {
    let mut server = Server::with_sim(|sim| {
        sim.guest = GuestScript::Silent;
        sim.pace = Pace { boot: Duration::from_secs(60), shutdown: Duration::ZERO };
    })
    .await;
    let body = r#"{"name":"otter","start":{"timeout_s":600}}"#;
    let mut events = server.open("POST", "/v1/vms", body).await;
    events.until("boot the kernel").await;
    server.signal();
    let last = events.until("failed").await;
    assert!(last.contains("\"interrupted\""), "{last}");
    let dir = server.ended().await;
    let server = Server::over(dir, Setup::default()).await;
    assert_eq!(server.get("/v1/vms/otter").await.json()["state"], "running");
}
