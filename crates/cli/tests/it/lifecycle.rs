//! Commands that change VMs.

use crate::fake::{Answer, Fake, accepted, already, begin, done, end, failed, note, vm};
use crate::transcript::{against, banger, end_of, send, start};
use hyper::Method;
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::{Value, json};

fn booted() -> Vec<Value> {
    vec![
        accepted(),
        begin("prepare the host"),
        end("prepare the host", 212),
        note("the guest runs under software emulation"),
        done(Some(vm("otter", "running", "ssh"))),
    ]
}

#[test]
fn create_shows_notes_and_the_end_where_there_is_no_terminal() {
    let fake = Fake::new().post("/v1/vms", booted()).serve();
    let line = "vm create --name otter --vcpu 4 --memory 2G --disk-size 20GiB --no-nat --timings";
    let args: Vec<_> = line.split(' ').collect();
    assert_snapshot!(banger(&fake, &args), @r"
    exit: 0
    --- stdout
    otter: ready in [TIME], at 172.16.0.2
      prepare the host            212 ms
      wait for ssh                 9.3 s
      all phases                   9.5 s
    --- stderr
    note: the guest runs under software emulation
    ");
    assert_eq!(
        fake.asked(),
        [
            r#"POST /v1/vms {"name":"otter","spec":{"vcpu":4,"memory":2048,"work_disk":20480,"nat":false},"start":{"wait":"ssh","timeout_s":120}}"#
        ]
    );
}

#[test]
fn create_leaves_defaults_to_the_daemon() {
    let created = vec![accepted(), done(Some(vm("otter", "created", "none")))];
    let fake = Fake::new().post("/v1/vms", created).serve();
    assert_snapshot!(banger(&fake, &["vm", "create", "--no-start"]), @r"
    exit: 0
    --- stdout
    otter: created
    --- stderr
    ");
    assert_eq!(fake.asked(), [r#"POST /v1/vms {"spec":{}}"#]);
}

#[test]
fn create_as_json_is_the_outcome() {
    let fake = Fake::new().post("/v1/vms", booted()).serve();
    let output = against(&fake, &["--json", "vm", "create"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["vm"]["name"], "otter");
    assert_eq!(document["timings"][1]["elapsed_ms"], 9300);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn several_are_reported_in_the_order_given_and_one_failure_is_a_failure() {
    let refused = json!({ "code": "vmm", "message": "the VMM of `heron` did not end",
        "causes": ["it is busy"], "hints": ["`banger vm kill heron` ends it at once"],
        "op_id": "9876543210", "log_path": "/state/vms/y/vmm.log" });
    let fake = Fake::new()
        .post("/v1/vms/lynx/stop", vec![accepted(), already(vm("lynx", "stopped", "none"))])
        .post("/v1/vms/heron/stop", vec![accepted(), failed(refused)])
        .post("/v1/vms/ot/stop", vec![accepted(), done(Some(vm("otter", "stopped", "none")))])
        .serve();
    let args = ["vm", "stop", "lynx", "heron", "none", "ot", "--timeout", "5"];
    assert_snapshot!(banger(&fake, &args), @r"
    exit: 1
    --- stdout
    lynx: already stopped
    otter: stopped
    --- stderr
    error: heron: the VMM of `heron` did not end
    caused by: it is busy
    hint: `banger vm kill heron` ends it at once
    log: /state/vms/y/vmm.log
    operation: 9876543210
    error: none: no VM is called `none`
    hint: `banger vm list` shows all VMs
    ");
    assert_eq!(fake.asked().len(), 4);
    assert!(fake.asked().iter().all(|asked| asked.ends_with(r#"{"timeout_s":5}"#)));
}

#[test]
fn several_as_json_are_one_array_in_the_order_given() {
    let deleted = Answer::Events(vec![accepted(), done(None)]);
    let fake = Fake::new().on(Method::DELETE, "/v1/vms/otter", deleted).serve();
    let output = against(&fake, &["vm", "delete", "none", "otter", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document[0]["error"]["code"], "vm_not_found");
    assert_eq!(
        (&document[1]["ref"], &document[1]["outcome"]["changed"]),
        (&json!("otter"), &json!(true))
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn each_verb_says_what_it_did() {
    let otter = || vec![accepted(), done(Some(vm("otter", "running", "guest")))];
    let fake = Fake::new()
        .post("/v1/vms/otter/start", otter())
        .post("/v1/vms/otter/restart", otter())
        .post("/v1/vms/otter/kill", otter())
        .on(Method::PATCH, "/v1/vms/otter", Answer::Events(otter()))
        .get("/v1/vms/ot", vm("otter", "running", "guest"))
        .on(Method::DELETE, "/v1/vms/ot", Answer::Events(vec![accepted(), done(None)]))
        .serve();
    let commands: [&[&str]; 5] = [
        &["vm", "start", "otter", "--wait", "guest", "--timeout", "9"],
        &["vm", "restart", "otter", "--stop-timeout", "3"],
        &["vm", "kill", "otter", "--signal", "TERM"],
        &["vm", "set", "otter", "--memory", "2G", "--nat"],
        &["vm", "rm", "ot"],
    ];
    let said: String = commands.iter().map(|args| banger(&fake, args)).collect();
    assert_snapshot!(said, @r"
    exit: 0
    --- stdout
    otter: guest up in [TIME], at 172.16.0.2
    --- stderr
    exit: 0
    --- stdout
    otter: guest up in [TIME], at 172.16.0.2
    --- stderr
    exit: 0
    --- stdout
    otter: sent TERM
    --- stderr
    exit: 0
    --- stdout
    otter: changed
    --- stderr
    exit: 0
    --- stdout
    otter: deleted
    --- stderr
    ");
    assert_snapshot!(fake.asked().join("\n"), @r#"
    POST /v1/vms/otter/start {"wait":"guest","timeout_s":9}
    POST /v1/vms/otter/restart {"stop":{"timeout_s":3},"start":{"wait":"ssh","timeout_s":120}}
    POST /v1/vms/otter/kill {"signal":"TERM"}
    PATCH /v1/vms/otter {"memory":2048,"nat":true}
    GET /v1/vms/ot
    DELETE /v1/vms/ot
    "#);
}

#[test]
fn an_interrupted_boot_goes_on_in_the_daemon() {
    let boot = Answer::Open(vec![accepted(), begin("boot the kernel")]);
    let fake = Fake::new().on(Method::POST, "/v1/vms", boot).serve();
    let child = start(&fake, &["vm", "create"]);
    fake.wait_until_asked("POST /v1/vms");
    send(&child, Signal::INT);
    assert_snapshot!(end_of(child, &fake), @r"
    exit: 130
    --- stdout
    --- stderr
    note: the daemon goes on with it; `banger vm list` shows how far it is
    ");
}

#[test]
fn set_without_anything_to_set_asks_for_it() {
    let fake = Fake::new().serve();
    assert_snapshot!(banger(&fake, &["vm", "set", "otter"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: nothing to set was given
    hint: give at least one of `--memory`, `--vcpu`, `--disk-size`, `--overlay-size`, `--nat` or `--no-nat`
    ");
    assert!(fake.asked().is_empty());
}

#[test]
fn what_is_already_so_is_said() {
    let running = vec![accepted(), already(vm("otter", "running", "ssh"))];
    let fake = Fake::new()
        .post("/v1/vms/otter/start", running.clone())
        .on(Method::PATCH, "/v1/vms/otter", Answer::Events(running))
        .serve();
    let start = banger(&fake, &["vm", "start", "otter"]);
    let set = banger(&fake, &["vm", "set", "otter", "--vcpu", "2"]);
    assert!(start.contains("\notter: already running\n"), "{start}");
    assert!(set.contains("\notter: already as asked\n"), "{set}");
}
