//! A guest that prints without end: its log stays short, and says what it leaves out.

use crate::stage::{Site, until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// How long a guest may take to print some mebibytes; each byte is a trip to the VMM.
const PRINT: Duration = Duration::from_secs(240);
/// More than is kept of a log.
const MUCH: u64 = 3 << 20;

#[test]
fn a_guest_that_prints_without_end_fills_nothing() {
    let site = Site::new();
    site.boot(&["vm", "create", "--name", "otter"]).code(0);
    let console = site.text("otter", "console_log");
    let talk = "--property StandardOutput=file:/dev/ttyS0 yes again and again";
    site.ssh("otter", &format!("systemd-run --quiet --unit talker {talk}"));
    until("the guest has said much, and little of it is kept", PRINT, || {
        let log = fs::metadata(&console).unwrap();
        log.len() > MUCH && log.blocks() * 512 < log.len() / 2
    });
    site.ssh("otter", "systemctl stop talker");
    let log = site.banger(&["vm", "logs", "otter"]).code(0).stdout().to_owned();
    assert!(log.contains("banger-init: handover "), "the start is kept");
    assert!(log.contains(" are left out here]\n") && log.contains("again and again"));
    assert!(log.len() < 2 << 20, "{}", log.len());
    // Why a VM runs can be asked too.
    site.banger(&["vm", "logs", "--why", "otter"]).code(0).shows("running, readiness ssh");
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}
