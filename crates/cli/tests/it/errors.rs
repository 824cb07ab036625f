//! What goes wrong on the way to the daemon and back.

use crate::fake::{Answer, Fake, accepted, begin, failed, version};
use crate::transcript::{against, banger};
use hyper::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};

fn refusal() -> Value {
    json!({
        "code": "guest_failed", "message": "`otter` did not boot",
        "causes": ["the guest could not mount `/dev/vda`", "bad superblock\nsecond line"],
        "hints": ["build the bundle anew with `banger bundle build`"],
        "op_id": "9876543210", "log_path": "/state/vms/x/console.log",
    })
}

#[test]
fn an_error_has_causes_hints_log_and_operation() {
    let fake = Fake::new().post("/v1/vms", vec![accepted(), failed(refusal())]).serve();
    assert_snapshot!(banger(&fake, &["vm", "create"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `otter` did not boot
    caused by: the guest could not mount `/dev/vda`
    caused by: bad superblock
        second line
    hint: build the bundle anew with `banger bundle build`
    log: /state/vms/x/console.log
    operation: 9876543210
    ");
}

#[test]
fn an_error_as_json_is_on_standard_output() {
    let fake = Fake::new().post("/v1/vms", vec![accepted(), failed(refusal())]).serve();
    let output = against(&fake, &["vm", "create", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document, json!({ "error": refusal() }));
    assert!(output.stderr.is_empty());
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_defect_has_an_exit_code_of_its_own() {
    let defect = json!({ "code": "internal", "message": "the store is broken" });
    let fake = Fake::new().on(Method::GET, "/v1/vms", Answer::Json(500, defect)).serve();
    assert_snapshot!(banger(&fake, &["vm", "list"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: the store is broken
    ");
}

#[test]
fn without_a_daemon_the_hint_says_how_to_start_one() {
    assert_snapshot!(banger(&Fake::new(), &["vm", "list"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon does not answer at `[DIR]/bangerd.sock`
    caused by: No such file or directory (os error 2)
    hint: start it with `banger daemon start`
    ");
}

#[test]
fn a_socket_that_nobody_listens_on_is_no_daemon() {
    let fake = Fake::new();
    drop(std::os::unix::net::UnixListener::bind(fake.socket()).unwrap());
    assert_snapshot!(banger(&fake, &["vm", "list"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon does not answer at `[DIR]/bangerd.sock`
    caused by: Connection refused (os error 111)
    hint: start it with `banger daemon start`
    ");
}

#[test]
fn a_stream_that_breaks_off_names_the_operation() {
    let answer = Answer::Broken(vec![accepted(), begin("start the VMM")]);
    let fake = Fake::new().on(Method::POST, "/v1/vms/otter/start", answer).serve();
    let said = banger(&fake, &["vm", "start", "otter"]);
    assert!(said.starts_with("exit: 1\n"), "{said}");
    assert!(said.contains("error: the daemon went away before it had finished\ncaused by: "));
    assert!(said.ends_with("\noperation: 0123456789\n"), "{said}");
}

#[test]
fn a_stream_without_an_end_breaks_off_too() {
    let fake = Fake::new().post("/v1/vms/otter/start", vec![accepted()]).serve();
    assert_snapshot!(banger(&fake, &["vm", "start", "otter"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon went away before it had finished
    hint: `banger vm list` shows what came of it, `banger daemon logs` what happened
    operation: 0123456789
    ");
}

#[test]
fn an_answer_that_is_not_understood_is_named() {
    let fake = Fake::new()
        .on(Method::GET, "/v1/vms", Answer::Bytes("<html>"))
        .on(Method::POST, "/v1/vms/otter/start", Answer::Bytes("{}\n"))
        .on(Method::GET, "/v1/images", Answer::Json(418, json!("tea")))
        .serve();
    let commands: [&[&str]; 3] = [&["vm", "list"], &["vm", "start", "otter"], &["image", "list"]];
    let said: String = commands.iter().map(|args| banger(&fake, args)).collect();
    assert_snapshot!(said, @r#"
    exit: 2
    --- stdout
    --- stderr
    error: the daemon's answer to `GET /v1/vms` is not understood: it is not the document that was expected
    caused by: expected value at line 1 column 1
    hint: `banger daemon restart` puts the installed daemon in its place; VMs go on
    exit: 2
    --- stdout
    --- stderr
    error: the daemon's answer to `POST /v1/vms/otter/start` is not understood: a line is not an event
    caused by: missing field `event` at line 1 column 2
    hint: `banger daemon restart` puts the installed daemon in its place; VMs go on
    exit: 2
    --- stdout
    --- stderr
    error: the daemon's answer to `GET /v1/images` is not understood: status 418 I'm a teapot
    caused by: invalid type: string "tea", expected struct ErrorBody at line 1 column 5
    hint: `banger daemon restart` puts the installed daemon in its place; VMs go on
    "#);
}

#[test]
fn a_daemon_of_another_api_is_not_talked_to() {
    let fake = Fake::new().get("/v1/version", version(2)).serve();
    assert_snapshot!(banger(&fake, &["vm", "list"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon is version 0.1.0 and speaks API 2; this client speaks API 1
    hint: `banger daemon restart` puts the installed daemon in its place; VMs go on
    ");
    assert!(fake.asked().is_empty());
}

#[test]
fn a_relative_runtime_directory_is_refused() {
    let fake = Fake::new();
    let mut command = against(&fake, &["vm", "list"]);
    let output = command.env("BANGER_RUNTIME_DIR", "run").output().unwrap();
    assert_snapshot!(crate::transcript::transcript(&output, fake.dir()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `BANGER_RUNTIME_DIR` is `run`, which is not an absolute path
    hint: set `BANGER_RUNTIME_DIR` to a path that begins with `/`, or unset it
    ");
}
