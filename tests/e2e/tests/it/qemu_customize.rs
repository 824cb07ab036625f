//! How work by hand can end without an image, and the example script. In these nothing depends on the
//! VMM, and in the testbed a root file system on its way out of a guest takes a quarter of an hour.

use crate::customize::{ANSWER, BUILD, enter};
use crate::stage::{Site, until};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// What the script is, wherever the test runs.
const SCRIPT: &str = include_str!("../../../../scripts/customize.sh");

#[test]
fn whoever_goes_without_a_word_leaves_nothing() {
    let site = Site::new();
    enter(&site, &[]).hang_up(BUILD).code(129);
    site.finish();
}

#[test]
fn commands_that_are_fed_and_fail_leave_nothing() {
    let site = Site::new();
    // What is fed has no terminal, and says beforehand what it is for.
    let fed = site.call(&["image", "customize", "default", "--name", "dev", "--save"]);
    let fed = fed.stdin(b"echo otter > /etc/by-hand\nexit 3\n").start().within(BUILD);
    fed.code(1).says("error: `dev` is not saved: the session ended with exit code 3");
    site.finish();
}

#[test]
fn a_daemon_that_is_killed_in_the_session_leaves_nothing() {
    let site = Site::new();
    let terminal = enter(&site, &[]);
    site.end_daemon(Signal::KILL);
    let (ended, shown) = terminal.close(BUILD);
    ended.code(1);
    assert!(shown.contains("the daemon went away before it had finished"), "{shown}");
    site.banger(&["daemon", "start"]).ok();
    until("the next daemon has removed it", ANSWER, || site.of_vms().is_empty());
    site.finish();
}

/// The example script, and the directory that it is in.
fn script() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("customize.sh");
    fs::write(&script, SCRIPT).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (dir, script)
}

#[test]
fn the_example_script_leaves_nothing_of_work_that_fails() {
    let (site, (_dir, script)) = (Site::new(), script());
    let work = "echo otter > /etc/by-hand; exit 3";
    site.call_by(&script, &["default", "dev", work]).start().within(BUILD).code(3);
    site.finish();
}

#[test]
fn the_example_script_makes_an_image_with_public_commands() {
    let (site, (_dir, script)) = (Site::new(), script());
    let run = |work: &str| site.call_by(&script, &["default", "dev", work]).start().within(BUILD);
    run("echo otter > /etc/by-hand; echo heron > /root/by-hand").shows("dev: imported");
    site.assert_quiet();
    run("true").code(1).says("an image called 'dev' exists already");

    site.boot(&["vm", "create", "--name", "lynx", "--image", "dev"]).ok();
    let look = "cat /etc/by-hand /root/by-hand; getcap /usr/bin/ping; hostname";
    let look = site.ssh("lynx", look);
    assert!(look.starts_with("otter\nheron\n") && look.ends_with("lynx\n"), "{look}");
    site.banger(&["vm", "delete", "lynx"]).ok();
    site.banger(&["image", "delete", "dev"]).ok();
    site.finish();
}
