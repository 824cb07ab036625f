//! A guest that prints without end: its log stays short, and says what it leaves out.

use crate::stage::{Site, until};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// More than is kept of a log.
const MUCH: usize = 3 << 20;

/// On an emulated processor a guest takes many minutes to print that much, since each byte is a trip
/// to the VMM. So the test writes most of it, behind what the guest has said, and the guest goes on.
#[test]
fn a_guest_that_prints_without_end_fills_nothing() {
    let site = Site::new();
    site.boot(&["vm", "create", "--name", "otter"]).code(0);
    let console = site.text("otter", "console_log");
    let mut log = OpenOptions::new().append(true).open(&console).unwrap();
    log.write_all("again and again\n".repeat(MUCH / 16).as_bytes()).unwrap();
    until("much was said, and little of it is kept", PATIENCE, || {
        let log = fs::metadata(&console).unwrap();
        log.len() > MUCH as u64 && log.blocks() * 512 < log.len() / 2
    });
    site.ssh("otter", "echo and once more > /dev/ttyS0");
    until("what the guest says then is in the log", PATIENCE, || {
        site.banger(&["vm", "logs", "otter"]).code(0).stdout().contains("and once more")
    });
    let log = site.banger(&["vm", "logs", "otter"]).code(0).stdout().to_owned();
    assert!(log.contains("banger-init: handover "), "the start is kept");
    assert!(log.contains(" are left out here]\n") && log.contains("again and again"));
    assert!(log.len() < 2 << 20, "{}", log.len());
    // Why a VM runs can be asked too.
    site.banger(&["vm", "logs", "--why", "otter"]).code(0).shows("running, readiness ssh");
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}
