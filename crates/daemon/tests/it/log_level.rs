//! The level of the log over HTTP, and what it does to the log of the program.

use crate::program::{Place, Program, reach};
use serde_json::{Value, json};

const ROUTE: &str = "/v1/daemon/log-level";

async fn status(daemon: &Program) -> Value {
    daemon.ask("GET", ROUTE, "").await.json()
}

/// How many lines of the log are at `debug`.
fn debug_lines(place: &Place) -> usize {
    let log = place.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["level"] == "debug").count()
}

#[tokio::test]
async fn a_level_holds_for_a_while_and_then_the_configured_one_again() {
    let place = Place::new();
    let daemon = place.start(&["--sim"]).await;
    assert_eq!(status(&daemon).await, json!({ "level": "info", "configured": "info" }));
    daemon.ask("POST", "/v1/vms", r#"{"name":"otter","start":{}}"#).await.outcome();
    assert_eq!(debug_lines(&place), 0);
    // What a start says then is a handful of lines.
    let begins = place.log().lines().filter(|line| line.contains("\"op_id\"")).count();
    assert!((3..=6).contains(&begins), "{}", place.log());

    let set = daemon.ask("PUT", ROUTE, r#"{"level":"debug","for_s":1}"#).await.json();
    assert_eq!((&set["level"], &set["back_in_s"]), (&json!("debug"), &json!(1)));
    reach("the configured level", async || {
        (status(&daemon).await["level"] == "info").then_some(())
    })
    .await;
    let meanwhile = debug_lines(&place);
    assert!(meanwhile > 0, "each question was logged");
    status(&daemon).await;
    assert_eq!(debug_lines(&place), meanwhile);
    assert_eq!(status(&daemon).await["back_in_s"], Value::Null);

    daemon.ask("PUT", ROUTE, r#"{"level":"trace"}"#).await.json();
    assert_eq!(status(&daemon).await["level"], "trace");
    for wrong in [r#"{"level":"loud"}"#, r#"{}"#, r#"{"level":"debug","for_s":-1}"#] {
        let refused = daemon.ask("PUT", ROUTE, wrong).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"), "{wrong}");
    }
    assert_eq!(status(&daemon).await["level"], "trace", "what is refused changes nothing");
}

/// What happened to a VM by itself has an operation of its own, which the VM names.
#[tokio::test]
async fn an_end_that_nobody_asked_for_can_be_followed_by_the_operation_that_the_vm_names() {
    let place = Place::new();
    let command = place.command(&["--sim", "--sim-guest", "panics"]);
    let daemon = place.start_with(command.env("BANGER_LOG_LEVEL", "debug")).await;
    daemon.ask("POST", "/v1/vms", r#"{"name":"otter"}"#).await.outcome();
    daemon.ask("POST", "/v1/vms/otter/start", r#"{"wait":"none"}"#).await;
    let vm = reach("the guest's panic", async || {
        let vm = daemon.ask("GET", "/v1/vms/otter", "").await.json();
        (vm["state"] == "stopped" && vm["last_error"].is_string()).then_some(vm)
    })
    .await;
    let op = vm["changed_by"].as_str().expect("an operation changed it").to_owned();
    let why = daemon.ask("GET", "/v1/vms/otter/why", "").await.json();
    assert_eq!(why["op_id"], op);
    let log = place.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.filter(|line| line["op_id"] == op).collect();
    for line in &lines {
        let of = ["vm_id", "vm_name", "image"].map(|key| line[key].clone());
        assert_eq!(of, [vm["id"].clone(), json!("otter"), json!("default")], "{line}");
    }
    let has = |msg: &str| lines.iter().filter(|line| line["msg"] == msg).count();
    assert_eq!(has("the VM has ended by itself"), 1, "{lines:?}");
    assert_eq!((has("stage begins"), has("stage is done")), (1, 1), "{lines:?}");
    assert!(has("remove") > 2, "{lines:?}");
}
