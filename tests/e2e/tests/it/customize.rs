//! Images made by hand: in a session on a terminal, and by the example script.

use crate::stage::{Site, Terminal, tool, until};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// How long it may take with the boot that belongs to it. A whole test has ten minutes.
const BUILD: Duration = Duration::from_secs(400);
/// How long a shell may take to answer: a guest on a busy machine may have to wait for its disk.
const ANSWER: Duration = Duration::from_secs(200);
const PROMPT: &str = "root@build-dev:~# ";
const QUESTION: &str = "save the image as `dev`, or discard it? [save/discard]";
/// What the script is, wherever the test runs.
const SCRIPT: &str = include_str!("../../../../scripts/customize.sh");

/// Begins to customise the bundle's image, up to the shell.
fn enter(site: &Site, more: &[&str]) -> Terminal {
    let args = [&["image", "customize", "default", "--name", "dev"], more].concat();
    let mut terminal = Terminal::open(site, &args);
    terminal.expect("what is done in this session is done to `dev`", BUILD);
    terminal.expect(PROMPT, ANSWER);
    terminal
}

fn image(site: &Site) -> Value {
    site.banger(&["--json", "image", "show", "dev"]).code(0).json()[0]["image"].clone()
}

/// What a file in an image's root file system says.
fn says(image: &Value, path: &str) -> String {
    tool("debugfs", &["-R", &format!("cat {path}"), image["rootfs"].as_str().unwrap()])
}

#[test]
fn what_is_done_in_a_session_is_in_the_image_and_vms_boot_from_it() {
    let site = Site::new();
    let mut terminal = enter(&site, &["--size", "9G"]);
    site.banger(&["vm", "list"]).shows("running (build)");
    // Ctrl-C is the guest's.
    terminal.type_line("echo now''; cat");
    terminal.expect("now\r\n", ANSWER);
    terminal.type_control(b'C');
    terminal.expect(PROMPT, ANSWER);
    terminal.type_line("echo otter > /etc/by-hand; echo heron > /root/by-hand");
    terminal.expect(PROMPT, ANSWER);
    // Nobody is let in any more then, who is not in already.
    terminal.type_line("rm -r /root/.ssh; false");
    terminal.expect(PROMPT, ANSWER);
    terminal.type_line("exit");
    terminal.expect("the session ended with exit code 1", ANSWER);
    terminal.expect(QUESTION, ANSWER);
    terminal.type_line("sav");
    terminal.expect(QUESTION, ANSWER);
    terminal.type_line("save");
    let (ended, shown) = terminal.close(BUILD);
    ended.code(0);
    assert!(shown.contains("dev: saved"), "{shown}");
    site.assert_quiet();

    let image = image(&site);
    assert_eq!((&image["origin"], &image["size_bytes"]), (&"built".into(), &(9u64 << 30).into()));
    let manifest = format!("{}.packages.json", image["rootfs"].as_str().unwrap());
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    assert_eq!(manifest["by_hand"], true);
    assert!(!manifest["packages"].as_array().unwrap().is_empty());

    site.boot(&["vm", "create", "--name", "lynx", "--image", "dev", "--overlay-size", "9G"]).ok();
    assert_eq!(site.ssh("lynx", "cat /etc/by-hand /root/by-hand"), "otter\nheron\n");
    site.banger(&["vm", "delete", "lynx"]).ok();
    site.banger(&["image", "delete", "dev"]).ok();
    site.finish();
}

#[test]
fn a_guest_that_is_shut_down_in_the_session_can_be_saved() {
    let site = Site::new();
    let mut terminal = enter(&site, &[]);
    terminal.type_line("echo otter > /etc/by-hand; poweroff");
    terminal.expect(QUESTION, BUILD);
    terminal.type_line("save");
    let (ended, shown) = terminal.close(BUILD);
    ended.code(0);
    assert!(shown.contains("dev: saved"), "{shown}");
    site.assert_quiet();
    assert_eq!(says(&image(&site), "/etc/by-hand"), "otter\n");
    site.banger(&["image", "delete", "dev"]).ok();
    site.finish();
}

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
