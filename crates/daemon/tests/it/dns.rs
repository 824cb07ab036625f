//! The program's DNS server: names follow VMs, and a taken port is told and tried again.

use crate::program::{Place, Program, reach};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

const RUN_OTTER: &str = r#"{"name":"otter","start":{}}"#;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn status(daemon: &Program) -> Value {
    daemon.ask("GET", "/v1/daemon", "").await.json()["dns"].clone()
}

/// The addresses that the daemon gives for a name.
async fn addresses(daemon: &Program, name: &str) -> Vec<String> {
    let address = status(daemon).await["address"].as_str().expect("it listens").to_owned();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(&address).await.unwrap();
    let mut query = Message::new(1, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    socket.send(&query.to_vec().unwrap()).await.unwrap();
    let mut packet = [0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut packet)).await.unwrap().unwrap();
    let answers = Message::from_vec(&packet[..length]).unwrap().answers;
    answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn a_name_comes_and_goes_with_its_vm_and_outlives_the_daemon() {
    let place = Place::new();
    let first = place.start(&["--sim"]).await;
    let created = first.ask("POST", "/v1/vms", RUN_OTTER).await.outcome();
    let ip = created["vm"]["ip"].as_str().unwrap();
    assert_eq!(addresses(&first, "app.OTTER.vm.").await, [ip]);
    let shown = status(&first).await;
    assert_eq!((&shown["state"], &shown["records"]), (&json!("serving"), &json!(1)));
    assert_eq!((&shown["problem"], &shown["queries"]), (&Value::Null, &json!(1)));
    first.signal(rustix::process::Signal::KILL).await;
    first.ended().await.unwrap_err();

    let second = place.start(&["--sim"]).await;
    assert_eq!(addresses(&second, "otter.vm.").await, [ip]);
    second.ask("POST", "/v1/vms/otter/stop", "{}").await.outcome();
    assert_eq!(addresses(&second, "otter.vm.").await, [""; 0]);
    assert_eq!(status(&second).await["records"], 0);
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_holder_and_taken_when_it_is_free() {
    let holder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = holder.local_addr().unwrap();
    let place = Place::new();
    let command = place.command(&["--sim"]).env("BANGER_DNS_LISTEN", address.to_string());
    let daemon = place.start_with(command).await;
    daemon.ask("POST", "/v1/vms", RUN_OTTER).await.outcome();
    let shown = status(&daemon).await;
    assert_eq!((&shown["state"], &shown["address"]), (&json!("failed"), &json!(address)));
    let problem = shown["problem"].as_str().unwrap();
    let told = format!("(pid {})", std::process::id());
    assert!(problem.starts_with(&format!("{address} is held by `")), "{problem}");
    assert!(problem.ends_with(&told), "{problem}");
    assert!(place.log().contains(&told), "the log tells the same");

    drop(holder);
    reach("another try", async || (status(&daemon).await["state"] == "serving").then_some(()))
        .await;
    assert_eq!(addresses(&daemon, "otter.vm.").await.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_off_listens_nowhere() {
    let place = Place::new();
    let command = place.command(&["--sim"]).env("BANGER_DNS_LISTEN", "off");
    let shown = status(&place.start_with(command).await).await;
    assert_eq!((&shown["state"], &shown["address"]), (&json!("off"), &Value::Null));
}

#[tokio::test]
async fn a_simulation_leaves_the_bus_alone_and_says_so() {
    let place = Place::new();
    let bus = std::os::unix::net::UnixListener::bind(place.path("bus")).unwrap();
    bus.set_nonblocking(true).unwrap();
    let address = format!("unix:path={}", place.path("bus").display());
    let command = place.command(&["--sim"]).env("DBUS_SYSTEM_BUS_ADDRESS", address);
    let daemon = place.start_with(command).await;
    daemon.ask("POST", "/v1/vms", RUN_OTTER).await.outcome();
    let shown = daemon.ask("GET", "/v1/dns", "").await.json()["host"].clone();
    assert_eq!(shown["state"], "off");
    assert_eq!(shown["problem"], "the host is simulated");
    for verb in ["install", "uninstall"] {
        let refused = daemon.ask("POST", &format!("/v1/dns/{verb}"), "").await;
        let message = "names of VMs are not given to the host's resolver: the host is simulated";
        assert_eq!(refused.json()["message"], message);
        assert_eq!((refused.status, refused.code()), (400, "invalid_config".to_owned()));
    }
    assert_eq!(bus.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
