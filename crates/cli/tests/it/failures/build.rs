//! Image builds that fail: the log stays, the VM does not.

use super::daemon::timeless;
use crate::fake::{Fake, accepted, failed};
use crate::simulated::Simulated;
use crate::transcript::{banger, piped, send};
use banger_core::id::OpId;
use banger_core::state::Readiness;
use banger_daemon::problem::describe_operation;
use banger_engine::{ImageBuildError, OperationError};
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::process::Child;

const BUILD: [&str; 6] = ["image", "build", "--name", "dev", "--package", "otter"];

/// What a build says that fails, which leaves its log and nothing else.
#[track_caller]
fn refused(host: &Simulated, args: &[&str]) -> String {
    let said = host.banger(args);
    let refusal = failure(&said);
    host.assert_nothing_is_left();
    refusal
}

/// The error of a failed build, without the note that names the log.
#[track_caller]
fn failure(said: &str) -> String {
    let said =
        said.strip_prefix("exit: 1\n--- stdout\n--- stderr\n").unwrap_or_else(|| panic!("{said}"));
    let (note, error) = said.split_once('\n').unwrap();
    assert_eq!(note, "note: what the guest says goes to `[DIR]/s/builds/[OP].log`", "{said}");
    error.to_owned()
}

#[test]
fn a_package_that_cannot_be_had_is_told_in_the_words_of_the_package_manager() {
    let says = "--sim-program=--no-install-recommends=100:E: Unable to locate package otter";
    let host = Simulated::new(&[says]);
    let said = refused(&host, &BUILD);
    assert_snapshot!(said, @r"
    error: could not build the image `dev`
    caused by: could not install the packages: `apt-get` ended with exit code 100
    hint: the guest ended with: E: Unable to locate package otter
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
    host.assert_log_has(&said, "E: Unable to locate package otter");
    assert!(!host.banger(&["image", "list"]).contains("dev"));
}

#[test]
fn a_script_that_fails_is_told_with_its_exit_code_and_last_lines() {
    let host = Simulated::new(&["--sim-program", "script-1=3:setup: there is no otter here"]);
    fs::write(host.path("setup"), "#!/bin/sh\n").unwrap();
    let said = refused(&host, &["image", "build", "--name", "dev", "--script", "setup"]);
    assert_snapshot!(said, @r"
    error: could not build the image `dev`
    caused by: could not run the script `[DIR]/setup`: `/var/tmp/banger-build/script-1` ended with exit code 3
    hint: the guest ended with: setup: there is no otter here
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
    host.assert_log_has(&said, "setup: there is no otter here");
}

#[test]
fn a_guest_whose_disk_is_full_says_what_gives_it_more() {
    let says = "--sim-program=--no-install-recommends=100:E: Write error - write (28: No space left on device)";
    let host = Simulated::new(&[says]);
    assert_snapshot!(refused(&host, &BUILD), @r"
    error: could not build the image `dev`
    caused by: could not install the packages: `apt-get` ended with exit code 100
    hint: the guest's disk is full: give the image more room with `--size`
    hint: the guest ended with: E: Write error - write (28: No space left on device)
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
}

#[test]
fn a_guest_that_panics_ends_the_build_with_its_console() {
    let host = Simulated::new(&["--sim-guest", "panics"]);
    let said = refused(&host, &BUILD);
    assert_snapshot!(said, @r#"
    error: could not build the image `dev`
    caused by: `build-dev` ended while it booted: the guest kernel panicked: simulated
    hint: the console ended with: [    0.000000] Linux version 6.1 (simulated) | banger-init: start {"uptime_ms":240,"version":"0.1.0"} | [    0.260000] Kernel panic - not syncing: simulated
    hint: `banger vm logs --why build-dev` puts together what is known
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    "#);
    host.assert_log_has(&said, "Kernel panic - not syncing");
}

#[test]
fn a_guest_that_cannot_be_entered_says_why() {
    let host = Simulated::new(&["--sim-fault", "work:2"]);
    assert_snapshot!(refused(&host, &BUILD), @r"
    error: could not build the image `dev`
    caused by: could not enter the guest
    caused by: the guest at `172.16.0.2:22` does not let the key in
    hint: `banger daemon logs --op [OP]` shows each step
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
}

/// The limit is five minutes, so the error comes from its type.
#[test]
fn a_guest_that_never_answers_is_told_with_the_end_of_its_console() {
    let tail = vec!["[  OK  ] Reached target network.target".to_owned(), "login:".to_owned()];
    let silent = ImageBuildError::NoSsh { seconds: 300, reached: Readiness::Guest, tail };
    let error = ImageBuildError::Failed {
        name: "dev".parse().unwrap(),
        source: Box::new(silent.into()),
        kept: None,
        log_path: "/s/builds/9876543210.log".into(),
    };
    let op_id: OpId = "9876543210".parse().unwrap();
    let error = OperationError { op_id, error: error.into(), left: Vec::new() };
    let events = vec![accepted(), failed(json!(describe_operation(&error)))];
    let fake = Fake::new().post("/v1/image-builds", events).serve();
    assert_snapshot!(banger(&fake, &BUILD), @r"
    exit: 1
    --- stdout
    --- stderr
    error: could not build the image `dev`
    caused by: the guest did not answer by ssh within 300 s; it reached `guest`
    hint: the console ended with: [  OK  ] Reached target network.target | login:
    log: /s/builds/9876543210.log
    operation: 9876543210
    ");
}

#[test]
fn a_build_that_keeps_its_vm_says_how_to_enter_it() {
    let says = "--sim-program=--no-install-recommends=100:E: Unable to locate package otter";
    let host = Simulated::new(&[says]);
    let said = host.banger(&[&BUILD[..], &["--keep-on-failure"]].concat());
    assert_snapshot!(failure(&said), @r"
    error: could not build the image `dev`
    caused by: could not install the packages: `apt-get` ended with exit code 100
    hint: the guest ended with: E: Unable to locate package otter
    hint: `banger vm ssh build-dev` enters the guest; `banger vm delete build-dev` removes it
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
    assert!(host.banger(&["vm", "list"]).contains("build-dev  running"));
}

#[test]
fn a_disk_that_fails_its_check_becomes_no_image() {
    // The check of the file system comes after everything that is done in the guest.
    let host = Simulated::new(&[]);
    host.does(&[&BUILD]);
    let steps = fs::read_to_string(only_log(&host))
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("$ "))
        .count();
    let host = Simulated::new(&["--sim-fault", &format!("work:{}", steps + 3)]);
    assert_snapshot!(refused(&host, &BUILD), @r"
    error: could not build the image `dev`
    caused by: could not read the file system in `[DIR]/s/vms/[VM]/root.img`
    caused by: simulated fault: work `check`
    hint: `banger daemon logs --op [OP]` shows each step
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
}

fn only_log(host: &Simulated) -> std::path::PathBuf {
    let mut logs = fs::read_dir(host.path("s/builds")).unwrap();
    let log = logs.next().unwrap().unwrap().path();
    assert!(logs.next().is_none());
    log
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_made() {
    let host = Simulated::new(&[]);
    fs::write(host.path("list"), "git\n--yes\n").unwrap();
    let build = |name: &str, more: &[&str]| {
        let args = [&["image", "build", "--name", name], more].concat();
        let said = host.refusal(&args);
        host.assert_nothing_is_left();
        said
    };
    assert_snapshot!(build("default", &[]), @r"
    error: an image called `default` exists already
    hint: pick another name, or give that image one with `banger image rename default OTHER`
    operation: [OP]
    ");
    assert_snapshot!(build("dev", &["--from", "none"]), @r"
    error: there is no image called `none`
    hint: `banger image list` shows all images
    operation: [OP]
    ");
    assert_snapshot!(build("dev", &["--size", "1G"]), @r"
    error: 1 GiB cannot hold the root file system of `default`, which has 4.0 GiB
    hint: give a larger `--size`, or none
    operation: [OP]
    ");
    assert_snapshot!(build("dev", &["--packages", "list"]), @r"
    error: could not read the list of packages in `[DIR]/list`
    caused by: line 2 names no package
    caused by: `--yes` cannot name a package: a name begins with a letter or a digit, has at most 200 bytes, and has letters, digits and `+ - . _ : = ~ / @ ^` only
    hint: write one name to a line; `#` begins a comment
    operation: [OP]
    ");
    assert_snapshot!(build("dev", &["--script", "gone"]), @r"
    error: could not read `[DIR]/gone`
    caused by: No such file or directory (os error 2)
    hint: check the path; the daemon reads it, on the machine that it runs on
    operation: [OP]
    ");
    assert_snapshot!(build("dev", &["--copy", "gone:/opt"]), @r"
    error: could not read `[DIR]/gone`
    caused by: No such file or directory (os error 2)
    hint: check the path; the daemon reads it, on the machine that it runs on
    operation: [OP]
    ");
    assert_snapshot!(build("dev", &["--modules", "s"]), @r"
    error: `[DIR]/s` holds no kernel modules
    hint: give a directory such as `/lib/modules/6.1.0-18-amd64`, or a root that has it
    operation: [OP]
    ");
    assert!(!host.path("s/builds").exists(), "no build had begun");
}

/// A build that waits for its guest. It has said where its log is.
fn waiting(host: &Simulated) -> Child {
    let mut build = piped(&mut host.call(&BUILD));
    // No more is read than the line: the rest is for the end.
    let (mut line, mut byte) = (String::new(), [0]);
    while !line.ends_with('\n') {
        build.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
        line.push(char::from(byte[0]));
    }
    assert!(line.starts_with("note: what the guest says goes to `"), "{line}");
    host.until_listed("build-dev  running");
    build
}

#[test]
fn an_interrupt_ends_the_build_and_the_log_is_named() {
    let host = Simulated::new(&["--sim-pace", "600000"]);
    let build = waiting(&host);
    send(&build, Signal::INT);
    assert_snapshot!(host.transcript(&build.wait_with_output().unwrap()), @r"
    exit: 130
    --- stdout
    --- stderr
    interrupted; ending the build
    error: could not build the image `dev`
    caused by: the build was cancelled
    log: [DIR]/s/builds/[OP].log
    operation: [OP]
    ");
    host.assert_nothing_is_left();
    assert!(fs::read_to_string(only_log(&host)).unwrap().contains("the build was cancelled"));
}

#[test]
fn the_second_build_of_a_name_is_refused_at_once() {
    let host = Simulated::new(&["--sim-pace", "600000"]);
    let build = waiting(&host);
    assert_snapshot!(host.refusal(&BUILD), @r"
    error: an image called `dev` is being made by another request
    hint: pick another name, or wait for that image
    operation: [OP]
    ");
    send(&build, Signal::INT);
    build.wait_with_output().unwrap();
    host.assert_nothing_is_left();
}

#[test]
fn a_daemon_that_is_killed_is_told_and_the_next_one_leaves_nothing_but_the_log() {
    let mut host = Simulated::new(&["--sim-pace", "600000"]);
    let build = waiting(&host);
    host.kill();
    let said = timeless(&host.transcript(&build.wait_with_output().unwrap()));
    assert_snapshot!(said, @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon went away before it had finished
    hint: `banger vm list` shows what came of it, `banger daemon logs` what happened
    ");
    host.restart(&[]);
    host.assert_nothing_is_left();
    assert!(only_log(&host).exists());
}
