//! The program as a process: its start, its refusals, its end, and what it leaves.

use crate::program::{Place, checked_in_openapi};
use banger_host::Exit;
use banger_host::cmd::CmdError;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const RUN_OTTER: &str = r#"{"name":"otter","start":{}}"#;

#[tokio::test]
async fn a_second_daemon_is_refused_and_told_the_pid_of_the_first() {
    let place = Place::new();
    let first = place.start(&["--sim"]).await;
    let pid = first.pid().await;
    let refusal = place.refusal(place.command(&["--sim"]));
    insta::assert_snapshot!(refusal.replace(&pid.to_string(), "<pid>"), @r"
    exit code 1
    error: a daemon runs (pid <pid>) for `<dir>/s` already
    hint: `banger daemon stop` ends it; VMs go on running
    hint: set `BANGER_STATE_DIR` and `BANGER_RUNTIME_DIR` for a daemon of its own
    ");
    assert_eq!(first.pid().await, pid, "the first goes on");
}

#[tokio::test]
async fn a_daemon_of_another_state_does_not_take_the_socket() {
    let place = Place::new();
    let first = place.start(&["--sim"]).await;
    let command = place.command(&["--sim"]).env("BANGER_STATE_DIR", place.path("s2"));
    insta::assert_snapshot!(place.refusal(command), @r"
    exit code 1
    error: another daemon answers on `<dir>/r/bangerd.sock`
    hint: set `BANGER_RUNTIME_DIR` to another directory
    ");
    first.pid().await;
}

#[tokio::test]
async fn sigterm_ends_it_and_leaves_vms_and_no_socket() {
    let place = Place::new();
    let first = place.start(&["--sim"]).await;
    let vm = first.ask("POST", "/v1/vms", RUN_OTTER).await.outcome()["vm"].clone();
    let mode = |name: &str| place.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("r"), mode("r/bangerd.sock"), mode("s/bangerd.log")), (0o700, 0o600, 0o600));
    first.signal(Signal::TERM).await;
    first.ended().await.expect("exit code 0");
    assert!(!place.socket().exists());

    let second = place.start(&["--sim"]).await;
    let again = second.ask("GET", "/v1/vms/otter", "").await.json();
    assert_eq!((&again["state"], &again["pid"]), (&json!("running"), &vm["pid"]));
}

#[tokio::test]
async fn a_killed_daemon_is_followed_by_one_that_takes_up_its_vms() {
    let place = Place::new();
    let first = place.start(&["--sim"]).await;
    first.ask("POST", "/v1/vms", RUN_OTTER).await.outcome();
    first.signal(Signal::KILL).await;
    let error = first.ended().await.unwrap_err();
    assert!(matches!(error, CmdError::Failed { exit: Exit::Signal(9), .. }), "{error:?}");
    assert!(place.socket().exists(), "nobody could remove it");

    let second = place.start(&["--sim"]).await;
    assert_eq!(second.ask("GET", "/v1/vms/otter", "").await.json()["state"], "running");
    second.ask("DELETE", "/v1/vms/otter", "").await.outcome();
    assert_eq!(second.ask("GET", "/v1/audit", "").await.json()["inventory"], json!([]));
}

#[tokio::test]
async fn a_daemon_that_dies_in_a_create_leaves_nothing_after_the_next_start() {
    let place = Place::new();
    let first = place.start(&["--sim", "--sim-fault", "crash-after:ensure:tap"]).await;
    let socket = place.socket();
    let asked = tokio::spawn(async move {
        crate::client::ask(&socket, "POST", "/v1/vms", RUN_OTTER).await;
    });
    let error = first.ended().await.unwrap_err();
    assert!(matches!(error, CmdError::Failed { exit: Exit::Signal(6), .. }), "{error:?}");
    assert!(asked.await.is_err(), "the connection broke");

    let second = place.start(&["--sim"]).await;
    let audit = second.ask("GET", "/v1/audit", "").await.json();
    assert_eq!(audit["audit"], json!({"leaked": [], "missing": []}));
}

#[tokio::test]
async fn every_log_line_of_an_operation_has_its_id() {
    let place = Place::new();
    let daemon = place.start(&["--sim"]).await;
    let created = daemon.ask("POST", "/v1/vms", RUN_OTTER).await;
    let op_id = created.events()[0]["op_id"].clone();
    let log = place.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place_of = |msg: &str| lines.iter().position(|line| line["msg"] == msg).unwrap();
    let of_operation = &lines[place_of("create begins")..=place_of("create is done")];
    // Nobody else asks anything meanwhile: creating, booting and becoming ready are all of it.
    assert!(of_operation.iter().all(|line| line["op_id"] == op_id), "{log}");
    assert!(of_operation.iter().any(|line| line["msg"] == "ready"), "{log}");
    assert!(log.starts_with("{\"ts\":\""), "{log}");
}

#[test]
fn a_wrong_configuration_is_refused_in_words() {
    let place = Place::new();
    let config = place.path("config.toml");
    let mut all = Vec::new();
    for text in ["memroy = 512\n", "# two\nvmm = \"xen\"\n", "vcpu = \n"] {
        fs::write(&config, text).unwrap();
        all.push(place.refusal(place.command(&["--sim", "--config", config.to_str().unwrap()])));
    }
    fs::remove_file(&config).unwrap();
    all.push(place.refusal(place.command(&["--sim"]).env("BANGER_CONFIG", &config)));
    all.push(place.refusal(place.command(&["--sim"]).env("BANGER_LOG_LEVEL", "loud")));
    all.push(place.refusal(place.command(&["--sim"]).env("BANGER_STATE_DIR", "state")));
    insta::assert_snapshot!(all.join("\n"), @r"
    exit code 1
    error: unknown key `memroy` in line 1 of `<dir>/config.toml`
    hint: did you mean `memory`?
    exit code 1
    error: cannot use the value of `vmm` in line 2 of `<dir>/config.toml`
    caused by: `xen` is none of `auto`, `firecracker`, `qemu`
    exit code 1
    error: `<dir>/config.toml` is not valid TOML in line 1: string values must be quoted, expected literal string
    exit code 1
    error: could not read the configuration file `<dir>/config.toml`
    caused by: No such file or directory (os error 2)
    exit code 1
    error: cannot use the value of `log_level` in the environment variable `BANGER_LOG_LEVEL`
    caused by: `loud` is none of `error`, `warn`, `info`, `debug`, `trace`
    exit code 1
    error: `BANGER_STATE_DIR` is `state`, which is not an absolute path
    hint: set `BANGER_STATE_DIR` to a path that begins with `/`, or unset it
    ");
    assert!(!place.path("r").exists(), "nothing was touched");
}

#[test]
fn a_runtime_directory_that_is_open_to_others_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("r")).unwrap();
    fs::write(place.path("r/file"), "").unwrap();
    fs::set_permissions(place.path("r"), fs::Permissions::from_mode(0o755)).unwrap();
    insta::assert_snapshot!(place.refusal(place.command(&["--sim"])), @r"
    exit code 1
    error: `<dir>/r` is open to other users (mode 755)
    hint: `chmod 700 <dir>/r`, or set `BANGER_RUNTIME_DIR` to another directory
    ");
}

#[test]
fn a_daemon_without_banger_init_says_so() {
    let place = Place::new();
    let command = place.command(&[]).env("BANGER_GUEST_INIT", place.path("banger-init"));
    insta::assert_snapshot!(place.refusal(command), @r"
    exit code 1
    error: banger-init is not installed: there is no `<dir>/banger-init`
    hint: build it, put it beside `bangerd`, or name it in `BANGER_GUEST_INIT`
    ");
}

#[test]
fn a_wrong_fault_is_a_wrong_usage() {
    let place = Place::new();
    for args in [["--sim", "--sim-fault", "ensure:moon"], ["--sim", "--sim-guest", "sleepy"]] {
        let refusal = place.refusal(place.command(&args));
        assert!(refusal.starts_with("exit code 2") && refusal.contains(args[2]), "{refusal}");
    }
    let refusal = place.refusal(place.command(&["--sim-fault", "3"]));
    assert!(refusal.contains("--sim"), "{refusal}");
}

#[test]
fn the_version_has_build_data() {
    let output = Place::new().command(&["--version"]).run().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.starts_with("bangerd 0.") && line.contains("(commit "), "{line}");
}

#[test]
fn the_checked_in_openapi_document_is_current() {
    let output = Place::new().command(&["openapi"]).run().unwrap();
    let document = String::from_utf8(output.stdout).unwrap();
    let checked_in = fs::read_to_string(checked_in_openapi()).unwrap_or_default();
    assert!(checked_in == document, "run `bangerd openapi > docs/openapi.json`");
}
