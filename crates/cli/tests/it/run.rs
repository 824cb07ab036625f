//! `vm run` and `vm ssh`, with a stand-in for ssh.

use crate::fake::{Answer, Fake, accepted, begin, done, failed, ssh_target, vm};
use crate::transcript::{against, end_of, script, send, start, transcript};
use hyper::Method;
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::json;

/// A daemon whose `otter` boots, can be entered and can be deleted. `otter` is there once it was
/// created.
fn otter() -> Fake {
    let running = || vm("otter", "running", "ssh");
    let deleted = Answer::Events(vec![accepted(), done(None)]);
    Fake::new()
        .get("/v1/vms", json!({ "vms": [vm("otter-two", "stopped", "none")] }))
        .get_after("POST /v1/vms ", "/v1/vms", json!({ "vms": [running()] }))
        .post("/v1/vms", vec![accepted(), begin("boot the kernel"), done(Some(running()))])
        .get("/v1/vms/0f5k2m9q/ssh", ssh_target(running()))
        .get("/v1/vms/otter/ssh", ssh_target(running()))
        .on(Method::DELETE, "/v1/vms/0f5k2m9q", deleted)
}

/// Runs the program with a script in the place of ssh.
fn with_ssh(fake: &Fake, ssh: &str, args: &[&str]) -> String {
    script(fake.dir(), "ssh", ssh);
    let output = against(fake, args).env("PATH", fake.dir()).output().unwrap();
    transcript(&output, fake.dir())
}

const DELETE: &str = "DELETE /v1/vms/0f5k2m9q";

#[test]
fn ssh_gets_bangers_own_key_and_known_hosts_and_nothing_else() {
    let fake = otter().serve();
    let script = r#"for arg in "$@"; do echo "$arg"; done"#;
    assert_snapshot!(with_ssh(&fake, script, &["vm", "ssh", "otter", "--", "ls", "a b"]), @r#"
    exit: 0
    --- stdout
    -F
    /dev/null
    -i
    /state/ssh/id
    -o
    UserKnownHostsFile="/state/ssh/known hosts"
    -o
    GlobalKnownHostsFile=/dev/null
    -o
    HostKeyAlias=banger-0f5k2m9q
    -o
    HostKeyAlgorithms=ssh-ed25519
    -o
    StrictHostKeyChecking=yes
    -o
    IdentitiesOnly=yes
    -o
    IdentityAgent=none
    -o
    PreferredAuthentications=publickey
    -o
    ConnectTimeout=15
    -o
    LogLevel=ERROR
    -p
    22
    root@172.16.0.2
    --
    ls 'a b'
    --- stderr
    "#);
}

#[test]
fn a_command_needs_no_dashes_before_it_and_keeps_its_own() {
    let fake = otter().serve();
    let script = r#"for word in "$@"; do last=$word; done; echo "$last""#;
    let with = with_ssh(&fake, script, &["vm", "ssh", "otter", "--", "ls", "-l", "--json"]);
    assert!(with.contains("ls") && with.contains("--json"), "{with}");
    let without = with_ssh(&fake, script, &["vm", "ssh", "otter", "ls", "-l", "--json"]);
    assert_eq!(without, with);
}

#[test]
fn a_vm_that_does_not_run_is_not_entered() {
    let fake =
        Fake::new().get("/v1/vms/otter/ssh", ssh_target(vm("otter", "stopped", "none"))).serve();
    assert_snapshot!(with_ssh(&fake, "echo entered", &["vm", "ssh", "otter"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `otter` cannot be entered: it is stopped
    hint: `banger vm start otter` boots it
    ");
}

#[test]
fn a_missing_ssh_is_named_with_its_package() {
    let fake = otter().serve();
    let output = against(&fake, &["vm", "ssh", "otter"]).env("PATH", fake.dir()).output().unwrap();
    assert_snapshot!(transcript(&output, fake.dir()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: there is no program `ssh`
    hint: install OpenSSH's client: on Debian, the package `openssh-client`
    ");
}

#[test]
fn the_commands_exit_code_is_passed_on() {
    let fake = otter().serve();
    let said = with_ssh(&fake, "echo from the guest; exit 7", &["vm", "run", "--", "false"]);
    assert_snapshot!(said, @r"
    exit: 7
    --- stdout
    from the guest
    --- stderr
    ");
    assert!(!fake.asked().iter().any(|asked| asked.starts_with("DELETE")));
}

#[test]
fn with_rm_the_vm_is_deleted_by_its_id_and_the_exit_code_kept() {
    let fake = otter().serve();
    let args = ["vm", "run", "--rm", "--name", "otter", "--", "false"];
    assert_snapshot!(with_ssh(&fake, "echo from the guest; exit 7", &args), @r"
    exit: 7
    --- stdout
    from the guest
    --- stderr
    ");
    assert_eq!(fake.asked().last().unwrap(), DELETE);
}

#[test]
fn with_rm_a_failed_boot_is_deleted_too() {
    let refused = failed(json!({ "code": "guest_failed", "message": "`otter` did not boot" }));
    let fake = otter().post("/v1/vms", vec![accepted(), begin("boot"), refused]).serve();
    assert_snapshot!(with_ssh(&fake, "", &["vm", "run", "--rm", "--name", "otter"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `otter` did not boot
    ");
    assert_eq!(fake.asked().last().unwrap(), DELETE);
}

#[test]
fn with_rm_a_vm_that_was_there_before_is_left_alone() {
    let fake = otter().get("/v1/vms", json!({ "vms": [vm("otter", "running", "ssh")] })).serve();
    assert_snapshot!(with_ssh(&fake, "", &["vm", "run", "--rm", "--name", "otter"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: a VM called `otter` exists already
    hint: `banger vm ssh otter` enters it
    ");
    assert_eq!(fake.asked(), ["GET /v1/vms"]);
}

#[test]
fn with_rm_a_vm_that_somebody_else_just_made_is_left_alone() {
    let taken = failed(json!({ "code": "name_taken", "message": "`otter` is taken" }));
    let fake = otter().post("/v1/vms", vec![accepted(), taken]).serve();
    with_ssh(&fake, "", &["vm", "run", "--rm", "--name", "otter"]);
    assert!(!fake.asked().iter().any(|asked| asked.starts_with("DELETE")));
}

#[test]
fn with_rm_a_vm_that_cannot_be_deleted_is_said_to_be_left() {
    let refused = json!({ "code": "host", "message": "the disk is busy" });
    let fake = otter().on(Method::DELETE, "/v1/vms/0f5k2m9q", Answer::Json(500, refused)).serve();
    assert_snapshot!(with_ssh(&fake, "", &["vm", "run", "--rm", "--name", "otter"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the disk is busy
    note: `otter` may be left; delete it with `banger vm delete otter`
    ");
}

const RUN: [&str; 5] = ["vm", "run", "--rm", "--name", "otter"];

#[test]
fn with_rm_an_interrupted_boot_is_deleted() {
    let boot = Answer::Open(vec![accepted(), begin("boot the kernel")]);
    let fake = otter().on(Method::POST, "/v1/vms", boot).serve();
    let child = start(&fake, &RUN);
    fake.wait_until_asked("POST /v1/vms");
    send(&child, Signal::INT);
    assert_snapshot!(end_of(child, &fake), @r"
    exit: 130
    --- stdout
    --- stderr
    interrupted; deleting `otter`
    ");
    assert_eq!(fake.asked().last().unwrap(), DELETE);
}

#[test]
fn a_second_interrupt_says_what_may_be_left() {
    let never = Answer::Open(vec![accepted()]);
    let fake = otter()
        .on(Method::POST, "/v1/vms", never.clone())
        .on(Method::DELETE, "/v1/vms/0f5k2m9q", never)
        .serve();
    let child = start(&fake, &RUN);
    fake.wait_until_asked("POST /v1/vms");
    send(&child, Signal::INT);
    fake.wait_until_asked("DELETE");
    send(&child, Signal::INT);
    assert_snapshot!(end_of(child, &fake), @r"
    exit: 130
    --- stdout
    --- stderr
    interrupted; deleting `otter`
    note: `otter` may be left; delete it with `banger vm delete otter`
    ");
}

#[test]
fn with_rm_a_command_that_is_interrupted_ends_and_the_vm_goes() {
    let fake = otter().serve();
    // The shell has to be killed itself, so it is replaced by what it waits for.
    script(fake.dir(), "ssh", ": > \"${0%/*}/entered\"; exec /bin/sleep 60");
    let child = start(&fake, &RUN);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !fake.dir().join("entered").exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    send(&child, Signal::TERM);
    assert_snapshot!(end_of(child, &fake), @r"
    exit: 143
    --- stdout
    --- stderr
    interrupted; deleting `otter`
    ");
    assert_eq!(fake.asked().last().unwrap(), DELETE);
}
