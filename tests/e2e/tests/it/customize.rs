//! Images made by hand in a session on a terminal.

use crate::stage::{Site, Terminal, tool};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// How long it may take with the boot that belongs to it. A whole test has ten minutes.
pub(crate) const BUILD: Duration = Duration::from_secs(400);
/// How long a shell may take to answer: a guest on a busy machine may have to wait for its disk.
pub(crate) const ANSWER: Duration = Duration::from_secs(200);
const PROMPT: &str = "root@build-dev:~# ";
const QUESTION: &str = "save the image as `dev`, or discard it? [save/discard]";

/// Begins to customise the bundle's image, up to the shell.
pub(crate) fn enter(site: &Site, more: &[&str]) -> Terminal {
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
    // Ctrl-C is the guest's. What says that it runs is what is interrupted: a shell that is about to
    // start something takes the signal for its own.
    terminal.type_line("cat /etc/hostname -");
    terminal.expect("build-dev\r\n", ANSWER);
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
