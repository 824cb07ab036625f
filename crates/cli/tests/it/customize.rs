//! `banger image customize`, with a script in the place of ssh.

use crate::fake::{Answer, Fake, accepted, failed, ssh_target, vm};
use crate::image_build::built;
use crate::program::BANGER;
use crate::pty::sides;
use crate::transcript::{against, banger, script, send, transcript};
use hyper::Method;
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};

const BUILD: &str = "POST /v1/image-builds ";
const TARGET: &str = "GET /v1/vms/build-dev/ssh";
const SAVE: &str = "POST /v1/image-builds/0123456789/save";
const CANCEL: &str = "DELETE /v1/image-builds/0123456789";
const LIST: &str = "GET /v1/images";
const CUSTOMIZE: [&str; 5] = ["image", "customize", "default", "--name", "dev"];
const QUESTION: &str = "[save/discard]";
/// The shell has to be killed itself, so it is replaced by what it waits for.
const WAIT: &str = "exec /bin/sleep 60";

fn enterable() -> Value {
    json!({ "event": "enterable", "vm": "build-dev" })
}

fn guest_ended() -> Value {
    json!({ "event": "guest_ended", "vm": "build-dev" })
}

fn done() -> Value {
    crate::fake::done(None)
}

fn cancelled() -> Value {
    failed(json!({
        "code": "interrupted", "message": "could not build the image `dev`",
        "causes": ["the build was cancelled"], "hints": [],
    }))
}

/// A daemon whose build says these events, and a script in the place of ssh.
fn building(parts: Vec<(&'static str, Vec<Value>)>, ssh: &str) -> Fake {
    let taken = || Answer::Json(202, Value::Null);
    let begun = vec![(BUILD, vec![accepted(), enterable()])];
    let fake = Fake::new()
        .on(Method::POST, "/v1/image-builds", Answer::Parts([begun, parts].concat()))
        .get("/v1/vms/build-dev/ssh", ssh_target(vm("build-dev", "running", "ssh")))
        .on(Method::POST, "/v1/image-builds/0123456789/save", taken())
        .on(Method::DELETE, "/v1/image-builds/0123456789", taken())
        .get("/v1/images/dev", built())
        .serve();
    script(fake.dir(), "ssh", ssh);
    fake
}

/// One that is saved, or else discarded.
fn either(ssh: &str, saves: bool) -> Fake {
    building(vec![if saves { (SAVE, vec![done()]) } else { (CANCEL, vec![cancelled()]) }], ssh)
}

fn start(fake: &Fake, more: &[&str], stdin: impl Into<Stdio>) -> Child {
    let mut command = against(fake, &[&CUSTOMIZE, more].concat());
    command.env("PATH", fake.dir()).stdin(stdin);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs it on a terminal at which this is typed once there is a question.
fn answered(fake: &Fake, more: &[&str], typed: &str) -> Output {
    let (mut keyboard, theirs) = sides();
    let mut child = start(fake, more, theirs);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    while !all.contains(QUESTION) && said.read_line(&mut all).unwrap() > 0 {}
    if all.contains(QUESTION) {
        keyboard.write_all(typed.as_bytes()).unwrap();
    }
    said.read_to_string(&mut all).unwrap();
    Output { stderr: all.into_bytes(), ..child.wait_with_output().unwrap() }
}

fn on_terminal(fake: &Fake, more: &[&str], typed: &str) -> String {
    transcript(&answered(fake, more, typed), fake.dir())
}

/// Runs it without one.
fn elsewhere(fake: &Fake, more: &[&str]) -> String {
    let child = start(fake, more, Stdio::null());
    transcript(&child.wait_with_output().unwrap(), fake.dir())
}

#[track_caller]
fn assert_asked(fake: &Fake, one: &str, not: &str) {
    let asked = fake.asked();
    assert!(asked.iter().any(|it| it.starts_with(one)), "{one} is not among {asked:?}");
    assert!(!asked.iter().any(|it| it.starts_with(not)), "{not} is among {asked:?}");
}

#[test]
fn whoever_wants_it_saved_gets_an_image_of_what_they_asked_for() {
    let fake = either("echo in the guest", true);
    let more = ["--size", "16G", "--vcpu", "3", "--memory", "2G", "--no-nat"];
    assert_snapshot!(on_terminal(&fake, &more, "save\n"), @r"
    exit: 0
    --- stdout
    in the guest
    dev: saved
    --- stderr
    what is done in this session is done to `dev`; `exit` ends it
    save the image as `dev`, or discard it? [save/discard]
    ");
    assert_asked(&fake, SAVE, CANCEL);
    assert_eq!(
        fake.asked()[0],
        "POST /v1/image-builds {\"name\":\"dev\",\"from\":\"default\",\"size\":16384,\"vcpu\":3,\
         \"memory\":2048,\"nat\":false,\"by_hand\":true,\"keep_on_failure\":false}"
    );
}

#[test]
fn what_is_no_answer_is_asked_again_and_so_is_an_end_of_input() {
    let fake = either("exit 3", true);
    assert_snapshot!(on_terminal(&fake, &[], "exit\n\n\u{4}sav\ny\n"), @r"
    exit: 0
    --- stdout
    dev: saved
    --- stderr
    what is done in this session is done to `dev`; `exit` ends it
    note: the session ended with exit code 3
    save the image as `dev`, or discard it? [save/discard]
    save the image as `dev`, or discard it? [save/discard]
    save the image as `dev`, or discard it? [save/discard]
    save the image as `dev`, or discard it? [save/discard]
    save the image as `dev`, or discard it? [save/discard]
    ");
}

#[test]
fn a_discarded_one_is_cancelled_and_its_end_is_awaited() {
    for typed in ["discard\n", "N\n", "\u{4}\u{4}\u{4}"] {
        let fake = either("", false);
        let said = on_terminal(&fake, &[], typed);
        assert!(said.starts_with("exit: 0\n--- stdout\ndev: discarded\n"), "{typed:?}: {said}");
        assert_asked(&fake, CANCEL, SAVE);
    }
}

#[test]
fn without_a_terminal_it_has_to_be_said_beforehand() {
    let fake = either("", true);
    assert_snapshot!(elsewhere(&fake, &[]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: nobody can be asked whether to save `dev`: standard input is not a terminal
    hint: say it beforehand, with `--save` or `--discard`
    ");
    assert_eq!(fake.asked(), [""; 0], "nothing is booted");
    let both = elsewhere(&fake, &["--save", "--discard"]);
    assert!(both.starts_with("exit: 2") && both.contains("cannot be used with"), "{both}");

    let said = elsewhere(&fake, &["--save"]);
    assert!(said.starts_with("exit: 0\n--- stdout\ndev: saved\n--- stderr\n"), "{said}");
    let fake = either("exit 1", false);
    let said = elsewhere(&fake, &["--discard"]);
    assert!(said.starts_with("exit: 0\n--- stdout\ndev: discarded\n--- stderr\n"), "{said}");
    assert_asked(&fake, CANCEL, SAVE);
}

#[test]
fn a_session_that_ends_badly_is_not_saved_without_a_question() {
    let fake = either("exit 3", false);
    assert_snapshot!(elsewhere(&fake, &["--save"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `dev` is not saved: the session ended with exit code 3
    hint: a session that is to be saved all the same has to end with `exit 0`
    ");
    assert_asked(&fake, CANCEL, SAVE);

    let fake = either("exit 255", true);
    let said = on_terminal(&fake, &["--save"], "s\n");
    assert!(said.contains("`banger vm ssh build-dev` enters it from another terminal"), "{said}");
    assert!(said.contains("[save/discard]") && said.contains("dev: saved"), "{said}");
}

#[test]
fn a_document_is_alone_on_standard_output() {
    for (saves, answer) in [(true, "save\n"), (false, "discard\n")] {
        let fake = either("echo in the guest", saves);
        let output = answered(&fake, &["--json"], answer);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (key, said) = (if saves { "name" } else { "discarded" }, &output.stderr);
        assert_eq!(document[key], "dev");
        assert!(String::from_utf8_lossy(said).contains("in the guest"));
    }
}

#[test]
fn a_guest_that_shuts_down_ends_the_session_and_can_be_saved() {
    let parts = vec![(TARGET, vec![guest_ended()]), (SAVE, vec![done()])];
    let fake = building(parts.clone(), WAIT);
    assert_snapshot!(on_terminal(&fake, &[], "save\n"), @r"
    exit: 0
    --- stdout
    dev: saved
    --- stderr
    what is done in this session is done to `dev`; `exit` ends it
    note: the guest has shut down; to be saved it is booted once more
    save the image as `dev`, or discard it? [save/discard]
    ");
    // Somebody who has said so beforehand means that too.
    let fake = building(parts, WAIT);
    let said = elsewhere(&fake, &["--save"]);
    assert!(said.starts_with("exit: 0\n--- stdout\ndev: saved\n"), "{said}");
}

#[test]
fn a_build_that_is_over_ends_the_session_and_nobody_is_asked() {
    let error = json!({
        "code": "interrupted", "message": "could not build the image `dev`",
        "causes": ["another request ended `build-dev`, in which it was built"], "hints": [],
    });
    let fake = building(vec![(TARGET, vec![failed(error)])], WAIT);
    assert_snapshot!(on_terminal(&fake, &[], "save\n"), @r"
    exit: 1
    --- stdout
    --- stderr
    what is done in this session is done to `dev`; `exit` ends it
    error: could not build the image `dev`
    caused by: another request ended `build-dev`, in which it was built
    ");
    assert_asked(&fake, TARGET, SAVE);
}

#[test]
fn a_daemon_that_goes_away_ends_the_session() {
    let fake = building(Vec::new(), WAIT);
    let said = on_terminal(&fake, &[], "save\n");
    assert!(said.starts_with("exit: 1\n--- stdout\n--- stderr\n"), "{said}");
    assert!(said.contains("error: the daemon went away before it had finished"), "{said}");
    assert!(!said.contains("[save/discard]"), "{said}");
}

#[test]
fn a_signal_in_the_session_and_at_the_question_cancels_the_build() {
    let entered = format!("echo entered >&2; {WAIT}");
    for (ssh, moment) in [(entered.as_str(), "entered"), ("", QUESTION)] {
        let fake = either(ssh, false);
        let (_keyboard, theirs) = sides();
        let mut child = start(&fake, &[], theirs);
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains(moment)), "{moment} does not come");
        send(&child, Signal::INT);
        assert!(said.any(|line| line.unwrap() == "interrupted; ending the build"), "{moment}");
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130), "{moment}");
        assert_asked(&fake, CANCEL, SAVE);
    }
}

#[test]
fn a_signal_while_it_is_saved_cancels_the_build() {
    let fake = building(vec![(CANCEL, vec![cancelled()])], "");
    let child = start(&fake, &["--save"], Stdio::null());
    fake.wait_until_asked(SAVE);
    send(&child, Signal::TERM);
    let said = transcript(&child.wait_with_output().unwrap(), fake.dir());
    assert!(said.starts_with("exit: 143\n"), "{said}");
    assert!(said.contains("caused by: the build was cancelled"), "{said}");
    assert_asked(&fake, CANCEL, "GET /v1/images/dev");
}

#[test]
fn a_terminal_that_is_closed_while_it_is_saved_leaves_it_to_the_daemon() {
    let fake = building(vec![(CANCEL, vec![cancelled()])], "");
    let child = start(&fake, &["--save"], Stdio::null());
    fake.wait_until_asked(SAVE);
    send(&child, Signal::HUP);
    assert_snapshot!(transcript(&child.wait_with_output().unwrap(), fake.dir()), @r"
    exit: 129
    --- stdout
    --- stderr
    note: the daemon goes on with it; `banger image list` shows its image
    ");
    assert_asked(&fake, SAVE, CANCEL);
}

#[test]
fn a_signal_counts_for_more_than_a_guest_that_has_shut_down() {
    let parts = vec![(TARGET, vec![guest_ended()]), (CANCEL, vec![cancelled()])];
    // It is told to end when the guest has, and does not.
    let ssh = "trap 'echo told >&2' TERM; while :; do /bin/sleep 0.1; done";
    let fake = building(parts, ssh);
    let mut child = start(&fake, &["--save"], Stdio::null());
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "told"));
    send(&child, Signal::INT);
    assert!(said.any(|line| line.unwrap() == "interrupted; ending the build"));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_asked(&fake, CANCEL, SAVE);
}

#[test]
fn a_session_that_breaks_off_with_its_guest_says_why() {
    // Once this command knows that ssh has ended, something is asked for, and the build says more.
    let ssh = format!(
        "while [ -e /proc/$$ ]; do :; done >/dev/null 2>&1 && {BANGER} image list >/dev/null 2>&1 &\n\
         exit 255"
    );
    let error = json!({
        "code": "interrupted", "message": "could not build the image `dev`",
        "causes": ["another request ended `build-dev`, in which it was built"], "hints": [],
    });
    let fake = building(vec![(LIST, vec![failed(error)])], &ssh);
    assert_snapshot!(elsewhere(&fake, &["--save"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: could not build the image `dev`
    caused by: another request ended `build-dev`, in which it was built
    ");
    assert_asked(&fake, LIST, CANCEL);

    // A guest that was shut down is one that its user wants saved.
    let fake = building(vec![(LIST, vec![guest_ended()]), (SAVE, vec![done()])], &ssh);
    let said = elsewhere(&fake, &["--save"]);
    assert!(said.starts_with("exit: 0\n--- stdout\ndev: saved\n"), "{said}");
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    // The keys are there before the session ends.
    let fake = either("read -r line; echo \"$line\"; exit 3", true);
    let (mut keyboard, theirs) = sides();
    keyboard.write_all(b"done\n\x04\x04\x04").unwrap();
    let mut child = start(&fake, &[], theirs);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(QUESTION)));
    keyboard.write_all(b"save\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\ndev: saved\n");
    assert_eq!(said.map(Result::unwrap).filter(|line| line.contains(QUESTION)).count(), 0);
}

#[test]
fn a_name_that_is_taken_and_a_missing_ssh_are_refused_before_a_session() {
    let refused = json!({
        "code": "name_taken", "message": "an image called `dev` exists already",
        "causes": [], "hints": ["pick another name"],
    });
    let fake = Fake::new().on(Method::POST, "/v1/image-builds", Answer::Json(409, refused)).serve();
    script(fake.dir(), "ssh", "echo entered");
    assert_snapshot!(on_terminal(&fake, &[], "save\n"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: an image called `dev` exists already
    hint: pick another name
    ");
    std::fs::remove_file(fake.dir().join("ssh")).unwrap();
    let said = on_terminal(&fake, &[], "save\n");
    assert!(said.contains("error: there is no program `ssh`"), "{said}");
    assert_eq!(fake.asked().len(), 1, "nothing is built");
}

#[test]
fn help_says_what_becomes_of_it() {
    let fake = Fake::new().serve();
    let said = banger(&fake, &["image", "customize", "--help"]);
    for text in ["--save", "--discard", "whatever ends this", "image customize default --name dev"]
    {
        assert!(said.contains(text), "{text} is not in:\n{said}");
    }
}
