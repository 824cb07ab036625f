//! Somebody at a terminal: a live boot, an interactive session, a log that is followed.

use crate::stage::{COLUMNS, ROWS, Running, Site, Terminal, until};
use rustix::process::Signal;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(330);
const ANSWER: Duration = Duration::from_secs(60);

#[test]
fn a_boot_is_shown_live_and_a_session_is_interactive() {
    let site = Site::new();
    let create = ["vm", "create", "--name", "otter", "--timeout", "300", "--timings"];
    let mut terminal = Terminal::open(&site, &create);
    for phase in ["prepare the host", "start the VMM", "wait for ssh"] {
        terminal.expect(phase, BOOT);
    }
    let (ended, shown) = terminal.close(BOOT);
    ended.code(0);
    assert!(shown.contains("otter: ready in "), "{shown}");
    assert!(shown.contains("all phases"), "{shown}");

    let log = follow(&site);
    session(&site);
    stats_are_watched(&site);
    ends_with_the_vm(&site, log);
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

/// Types at a shell in the guest.
fn session(site: &Site) {
    let mut terminal = Terminal::open(site, &["vm", "ssh", "otter"]);
    terminal.expect("root@otter:~# ", ANSWER);
    // What is typed is echoed; only the shell knows the sum.
    terminal.type_line("echo sum=$((40 + 2))");
    terminal.expect("sum=42", ANSWER);
    terminal.type_line("stty size");
    terminal.expect(&format!("{ROWS} {COLUMNS}"), ANSWER);
    // Whoever types ahead of the shell types into its line editor.
    terminal.type_line("echo now''; cat");
    terminal.expect("now\r\n", ANSWER);
    terminal.type_line("said once");
    // The echo, then what `cat` makes of it.
    terminal.expect("said once", ANSWER);
    terminal.expect("said once", ANSWER);
    terminal.type_control(b'C');
    terminal.expect("root@otter:~# ", ANSWER);
    terminal.type_line("echo from the guest > /dev/ttyS0");
    terminal.type_line("exit 9");
    terminal.close(ANSWER).0.code(9);
}

/// What VMs use is shown anew every two seconds, with who comes and without who goes; the terminal
/// is left as it was.
fn stats_are_watched(site: &Site) {
    let mut terminal = Terminal::open(site, &["vm", "stats", "-w"]);
    terminal.expect("NAME ", ANSWER);
    terminal.expect("█", ANSWER);
    terminal.expect("otter ", ANSWER);
    site.banger(&["vm", "create", "--name", "heron", "--no-start"]).ok();
    terminal.expect("heron  created ", ANSWER);
    site.banger(&["vm", "delete", "heron"]).ok();
    // Two looks begin after it is gone, and the second is complete.
    for _ in 0..3 {
        terminal.expect("NAME ", ANSWER);
    }
    terminal.type_control(b'C');
    let (ended, shown) = terminal.close(ANSWER);
    ended.code(130);
    let looks: Vec<&str> = shown.split("NAME ").collect();
    assert!(!looks[looks.len() - 2].contains("heron"), "{shown}");
    assert!(shown.ends_with("\r\x1b[K"), "the cursor is at the start of a line: {shown:?}");
    assert!(!shown.contains("\x1b[?"), "no state of the terminal is changed: {shown:?}");
}

fn follow(site: &Site) -> Running {
    let log = site.call(&["vm", "logs", "-f", "-n", "1", "otter"]).start();
    until("the log begins", ANSWER, || !log.stdout().is_empty());
    log
}

/// What is followed shows what the guest says, over a stop, until the follower has enough.
fn ends_with_the_vm(site: &Site, log: Running) {
    until("the log has the guest's words", ANSWER, || log.stdout().contains("from the guest"));
    site.banger(&["vm", "stop", "otter"]).ok();
    until("the log has the guest's end", ANSWER, || log.stdout().contains("reboot: Restarting"));
    log.signal(Signal::INT);
    let ended = log.within(ANSWER + BOOT);
    assert!(!ended.stdout().contains("banger-init: start"), "more than the last line came first");
}
