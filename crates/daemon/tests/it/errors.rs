//! Every kind of error: its status, its code and its words.

use crate::client::Answer;
use crate::server::{Server, Setup, usual};
use banger_core::guest::Stage;
use banger_core::unit::{Bytes, MiB};
use banger_daemon::doctor::{Demand, Facts, Survey};
use banger_host::facts::{Depth, NetworkFacts, NetworkQuestion};
use banger_host::{GuestScript, Pace};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn show(title: &str, status: u16, error: &Value) -> String {
    let mut text = format!("{title}\n  {status} {}: {}\n", error["code"], error["message"]);
    for (label, field) in [("caused by", "causes"), ("hint", "hints")] {
        for line in error[field].as_array().unwrap() {
            writeln!(text, "  {label}: {line}").unwrap();
        }
    }
    text.replace('"', "")
}

/// What a server with two VMs, `otter` and `otter-two`, answers to requests that are wrong.
async fn refusals(requests: &[(&str, &str, &str)]) -> String {
    let server = Server::start().await;
    for name in ["otter", "otter-two"] {
        let body = json!({"name": name}).to_string();
        server.ask("POST", "/v1/vms", &body).await.outcome();
    }
    let mut all = String::new();
    for (method, path, body) in requests {
        let answer = server.ask(method, path, body).await;
        let title = format!("{method} {path} {body}");
        writeln!(all, "{}", show(title.trim(), answer.status, &answer.json())).unwrap();
    }
    all
}

#[tokio::test]
async fn a_wrong_route_reference_or_query_is_refused_in_words() {
    insta::assert_snapshot!(refusals(&[
        ("GET", "/v1/nothing", ""),
        ("PUT", "/v1/vms", ""),
        ("GET", "/v1/vms/ottre", ""),
        ("GET", "/v1/vms/ot", ""),
        ("GET", "/v1/vms/%ff", ""),
        ("POST", "/v1/vms/otter/kill", ""),
        ("POST", "/v1/vms/otter/kill", r#"{"signal":"FOO"}"#),
        ("GET", "/v1/vms/otter/logs?source=disk", ""),
        ("GET", "/v1/vms/otter/logs?tail=-1", ""),
        ("GET", "/v1/vms/otter/logs?lines=5", ""),
        ("POST", "/v1/bundle/build", ""),
    ]).await, @r"
    GET /v1/nothing
      404 invalid_request: there is no `/v1/nothing`
      hint: `/openapi.json` describes every route

    PUT /v1/vms
      405 invalid_request: `/v1/vms` does not take PUT
      hint: `/openapi.json` describes every route

    GET /v1/vms/ottre
      404 vm_not_found: no VM is called `ottre`
      hint: did you mean `otter`?

    GET /v1/vms/ot
      409 ambiguous_reference: `ot` could be any of `otter`, `otter-two`
      hint: give more of the name, or the whole id

    GET /v1/vms/%ff
      400 invalid_request: cannot read the path of the URL
      caused by: Invalid URL: Invalid UTF-8 in `ref`

    POST /v1/vms/otter/kill
      409 wrong_state: cannot kill `otter` while it is created
      hint: `banger vm start otter` starts it

    POST /v1/vms/otter/kill {signal:FOO}
      400 invalid_request: `FOO` names no signal; give a name such as `TERM` or `SIGKILL`, or a number from 1 to 64

    GET /v1/vms/otter/logs?source=disk
      400 invalid_request: cannot read the query of the URL
      caused by: source: unknown variant `disk`, expected `console` or `vmm`
      hint: `/openapi.json` describes every parameter

    GET /v1/vms/otter/logs?tail=-1
      400 invalid_request: cannot read the query of the URL
      caused by: tail: invalid digit found in string
      hint: `/openapi.json` describes every parameter

    GET /v1/vms/otter/logs?lines=5
      400 invalid_request: cannot read the query of the URL
      caused by: lines: unknown field `lines`, expected one of `source`, `follow`, `tail`, `previous`
      hint: `/openapi.json` describes every parameter

    POST /v1/bundle/build
      400 invalid_request: a simulated daemon cannot build a bundle
    ");
}

#[tokio::test]
async fn a_wrong_body_is_refused_in_words() {
    insta::assert_snapshot!(refusals(&[
        ("POST", "/v1/vms", r#"{"name":"otter"}"#),
        ("POST", "/v1/vms", r#"{"name":"Otter"}"#),
        ("POST", "/v1/vms", r#"{"nmae":"lynx"}"#),
        ("POST", "/v1/vms", r#"{"name":"#),
        ("POST", "/v1/vms", r#"{"spec":{"vcpu":33}}"#),
        ("POST", "/v1/vms", r#"{"spec":{"memory":0}}"#),
        ("POST", "/v1/vms", r#"{"spec":{"memory":64}}"#),
        ("POST", "/v1/vms", r#"{"spec":{"work_disk":200000}}"#),
        ("POST", "/v1/vms", r#"{"start":{"wait":"forever"}}"#),
        ("PATCH", "/v1/vms/otter", r#"{"work_disk":1024}"#),
    ]).await, @r"
    POST /v1/vms {name:otter}
      409 name_taken: a VM called `otter` exists already
      hint: pick another name, or delete that VM with `banger vm delete otter`

    POST /v1/vms {name:Otter}
      400 invalid_request: cannot read the request's body
      caused by: `Otter` has 'O' in it; a name is made of a-z, 0-9 and `-` at line 1 column 16
      hint: `/openapi.json` describes every body

    POST /v1/vms {nmae:lynx}
      400 invalid_request: cannot read the request's body
      caused by: unknown field `nmae`, expected one of `name`, `image`, `spec`, `start` at line 1 column 7
      hint: `/openapi.json` describes every body

    POST /v1/vms {name:
      400 invalid_request: cannot read the request's body
      caused by: EOF while parsing a value at line 1 column 8
      hint: `/openapi.json` describes every body

    POST /v1/vms {spec:{vcpu:33}}
      400 invalid_request: cannot read the request's body
      caused by: 33 vCPUs cannot be had; give 1 to 32 at line 1 column 19
      hint: `/openapi.json` describes every body

    POST /v1/vms {spec:{memory:0}}
      400 invalid_request: cannot read the request's body
      caused by: a size must be at least 1 MiB at line 1 column 20
      hint: `/openapi.json` describes every body

    POST /v1/vms {spec:{memory:64}}
      400 invalid_request: 64 MiB of memory is too little; give at least 128 MiB

    POST /v1/vms {spec:{work_disk:200000}}
      400 invalid_request: a work disk of 200000 MiB cannot be had; give 16 MiB to 128 GiB

    POST /v1/vms {start:{wait:forever}}
      400 invalid_request: cannot read the request's body
      caused by: unknown variant `forever`, expected one of `none`, `guest`, `ssh` at line 1 column 26
      hint: `/openapi.json` describes every body

    PATCH /v1/vms/otter {work_disk:1024}
      400 invalid_request: the work disk cannot shrink from 8 GiB to 1 GiB
      hint: disks only grow: give a larger size, or make a new VM
    ");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = Server::start().await;
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    let answer = server.ask("POST", "/v1/vms", &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "invalid_request"));
}

#[tokio::test]
async fn a_full_subnet_is_refused() {
    let server = Server::with(Setup { subnet: "10.0.0.1/30", ..Setup::default() }).await;
    server.run_vm("otter").await;
    let answer = server.ask("POST", "/v1/vms", "{}").await;
    assert_eq!(answer.status, 409);
    insta::assert_snapshot!(show("POST /v1/vms", answer.status, &answer.json()), @r"
    POST /v1/vms
      409 subnet_exhausted: all 1 addresses of 10.0.0.1/30 are taken
      hint: delete a VM, or set a `subnet` with a shorter prefix in the configuration file
    ");
}

/// A host without the VMM's program.
#[derive(Debug)]
struct Without;

impl Survey for Without {
    fn usual(&self) -> Demand {
        usual()
    }

    fn facts(&self, demand: Demand, _depth: Depth) -> Facts {
        Facts { has_program: false, ..Facts::complete(demand) }
    }

    fn network(&self, question: NetworkQuestion) -> NetworkFacts {
        NetworkFacts::open(question)
    }
}

#[tokio::test]
async fn a_missing_program_is_told_before_anything_is_made() {
    let survey = Some(Arc::new(Without) as Arc<dyn Survey>);
    let server = Server::with(Setup { survey, ..Setup::default() }).await;
    let refused = server.ask("POST", "/v1/vms", r#"{"name":"otter","start":{}}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "missing_dependency"));
    assert_eq!(server.get("/v1/vms").await.json(), json!({"vms": []}));
    // A VM that is not started needs no program.
    server.ask("POST", "/v1/vms", r#"{"name":"otter"}"#).await.outcome();
    let refused = server.ask("POST", "/v1/vms/otter/start", "").await;
    assert_eq!(refused.code(), "missing_dependency");
    let refused = server.ask("POST", "/v1/vms/nobody/start", "").await;
    assert_eq!(refused.code(), "vm_not_found");
}

/// A host that has lost its VMM's program since the daemon started.
#[derive(Debug, Default)]
struct Losing(AtomicBool);

impl Survey for Losing {
    fn usual(&self) -> Demand {
        usual()
    }

    fn facts(&self, demand: Demand, _depth: Depth) -> Facts {
        let has_program = !self.0.load(Ordering::Relaxed);
        Facts { has_program, ..Facts::complete(demand) }
    }

    fn network(&self, question: NetworkQuestion) -> NetworkFacts {
        NetworkFacts::open(question)
    }
}

#[tokio::test]
async fn the_start_of_a_vm_that_runs_needs_nothing() {
    let survey = Arc::new(Losing::default());
    let setup = Setup { survey: Some(Arc::clone(&survey) as _), ..Setup::default() };
    let server = Server::with(setup).await;
    server.run_vm("otter").await;
    survey.0.store(true, Ordering::Relaxed);
    let started = server.ask("POST", "/v1/vms/otter/start", "").await.outcome();
    assert_eq!(started["changed"], false);
    server.ask("POST", "/v1/vms/otter/stop", "").await.outcome();
    let refused = server.ask("POST", "/v1/vms/otter/start", "").await;
    assert_eq!(refused.code(), "missing_dependency");
}

/// A host with so much room.
#[derive(Debug)]
struct Room(AtomicU64);

impl Survey for Room {
    fn usual(&self) -> Demand {
        usual()
    }

    fn facts(&self, demand: Demand, _depth: Depth) -> Facts {
        let mut facts = Facts::complete(demand);
        facts.host.room = Ok(Bytes(self.0.load(Ordering::Relaxed)));
        facts
    }

    fn network(&self, question: NetworkQuestion) -> NetworkFacts {
        NetworkFacts::open(question)
    }
}

#[tokio::test]
async fn the_start_of_a_vm_whose_work_disk_grows_is_checked_for_that() {
    let survey = Arc::new(Room(AtomicU64::new(64 << 30)));
    let setup = Setup { survey: Some(Arc::clone(&survey) as _), ..Setup::default() };
    let server = Server::with(setup).await;
    server.run_vm("otter").await;
    server.ask("POST", "/v1/vms/otter/stop", "").await.outcome();
    let vm = server.get("/v1/vms/otter").await.json();
    let disk = Path::new(vm["dir"].as_str().unwrap()).join("work.img");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();

    survey.0.store(1 << 30, Ordering::Relaxed);
    let started = server.ask("POST", "/v1/vms/otter/start", "").await.outcome();
    let note = started["notes"][0].as_str().unwrap_or_default();
    assert!(note.starts_with("the work disk can take 7.9 GiB more, and 1.0 GiB are"), "{started}");
    server.ask("POST", "/v1/vms/otter/stop", "").await.outcome();
    survey.0.store(1 << 20, Ordering::Relaxed);
    let refused = server.ask("POST", "/v1/vms/otter/start", "").await;
    assert_eq!((refused.status, refused.code().as_str()), (507, "no_space"));
    assert_eq!(server.get("/v1/vms/otter").await.json()["state"], "stopped");
    // A disk that is as large as it is to be needs no room.
    fs::remove_file(&disk).unwrap();
    server.ask("POST", "/v1/vms/otter/start", "").await.outcome();
}

/// The failure of a create on its way, which must leave nothing behind.
async fn failing_create(server: &Server, body: &str) -> Value {
    let answer: Answer = server.ask("POST", "/v1/vms", body).await;
    let error = answer.failure();
    assert_eq!(error["op_id"], answer.events()[0]["op_id"]);
    error
}

async fn assert_empty(server: &Server) {
    assert_eq!(server.get("/v1/vms").await.json(), json!({"vms": []}));
    assert_eq!(server.get("/v1/audit").await.json()["inventory"], json!([]));
}

const CREATE: &str = r#"{"name":"otter","start":{"timeout_s":1}}"#;

#[tokio::test]
async fn a_host_that_refuses_is_the_last_event_with_its_cause() {
    let server = Server::with_sim(|sim| sim.faults = vec!["ensure:tap".parse().unwrap()]).await;
    let error = failing_create(&server, CREATE).await;
    let text = show("create", 200, &error).replace(error["op_id"].as_str().unwrap(), "<op>");
    let words = text.split('`').map(|word| if word.len() == 15 { "<tap>" } else { word });
    insta::assert_snapshot!(words.collect::<Vec<_>>().join("`"), @r"
    create
      200 host: could not prepare the host for `otter`
      caused by: simulated fault: ensure `<tap>`
      hint: `banger daemon logs --op <op>` shows each step
    ");
    assert_empty(&server).await;
}

#[tokio::test]
async fn what_an_undo_cannot_remove_is_named() {
    let server = Server::with_sim(|sim| {
        sim.faults = vec!["ensure:tap".parse().unwrap(), "remove:initrd".parse().unwrap()];
    })
    .await;
    let error = failing_create(&server, CREATE).await;
    let causes = error["causes"].as_array().unwrap();
    let named = |cause: &Value| cause.as_str().unwrap().contains("could not remove `");
    assert!(causes.iter().any(named), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_no_space() {
    let server = Server::with_sim(|sim| sim.capacity = MiB::of(4096).bytes()).await;
    assert_eq!(failing_create(&server, CREATE).await["code"], "no_space");
    assert_empty(&server).await;
}

#[tokio::test]
async fn a_vmm_that_dies_and_a_guest_that_fails_point_at_their_logs() {
    for (guest, code) in [
        (GuestScript::VmmDies, "vmm"),
        (GuestScript::Panics, "guest_failed"),
        (GuestScript::FailsAt(Stage::Network), "guest_failed"),
    ] {
        let server = Server::start().await;
        server.sim.set_guest(guest);
        let error = failing_create(&server, CREATE).await;
        assert_eq!(error["code"], code, "{guest}: {error}");
        assert!(error["log_path"].is_string(), "{guest}: {error}");
        assert_empty(&server).await;
    }
}

#[tokio::test]
async fn a_wait_that_runs_out_leaves_the_vm_alone() {
    let server = Server::with_sim(|sim| {
        sim.guest = GuestScript::Silent;
        sim.pace = Pace { boot: Duration::from_secs(60), shutdown: Duration::ZERO };
    })
    .await;
    let error = failing_create(&server, CREATE).await;
    assert_eq!(error["code"], "timeout", "{error}");
    assert!(error["message"].as_str().unwrap().contains("it reached `vmm`"), "{error}");
    assert_eq!(server.get("/v1/vms/otter").await.json()["state"], "running");
}
