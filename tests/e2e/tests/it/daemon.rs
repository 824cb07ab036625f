//! The daemon comes and goes; VMs stay.

use crate::stage::{Site, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn vms_outlive_the_daemon_however_it_ends() {
    let site = Site::new();
    site.boot(&["vm", "create", "--name", "otter"]).ok();
    let booted = site.ssh("otter", "cat /proc/sys/kernel/random/boot_id");
    let pid = site.vm("otter")["pid"].clone();
    let first = site.daemon_pid();

    for signal in [Signal::TERM, Signal::KILL] {
        site.end_daemon(signal);
        let refused = site.banger(&["--no-autostart", "vm", "list"]);
        refused.refused("the daemon does not answer at ");
        // The next command starts a daemon, which takes up what runs.
        taken_up(&site, &pid);
        assert_ne!(site.daemon_pid(), first);
        assert_eq!(site.ssh("otter", "cat /proc/sys/kernel/random/boot_id"), booted);
        site.banger(&["doctor"]).ok();
    }
    assert_eq!(site.banger(&["daemon", "restart"]).code(0).stderr(), "");
    taken_up(&site, &pid);

    let second = site.banger(&["daemon", "start"]);
    second.shows("the daemon is already running, pid ");
    assert_eq!(site.banger(&["vm", "stop", "otter"]).ok(), "otter: stopped\n");
    assert_eq!(site.vm("otter")["last_error"], json!(null));
    site.assert_quiet();
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

#[test]
fn a_vm_that_dies_while_no_daemon_watches_is_told_of_at_the_next_start() {
    let site = Site::new();
    site.boot(&["vm", "create", "--name", "otter", "--wait", "none"]).ok();
    let vmm = crate::stage::pid(&site.vm("otter")["pid"]);
    site.end_daemon(Signal::KILL);
    rustix::process::kill_process(vmm, Signal::KILL).unwrap();
    until("the VMM has ended", PATIENCE, || rustix::process::test_kill_process(vmm).is_err());
    let vm = site.vm("otter");
    assert_eq!(vm["state"], "stopped");
    assert_eq!(vm["last_error"], "the VMM ended while no daemon was watching");
    site.assert_quiet();
    site.banger(&["doctor"]).ok();
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

/// The VM runs in the same process, and is soon known to be as ready as it is.
#[track_caller]
fn taken_up(site: &Site, pid: &Value) {
    until("the VM is known to answer", PATIENCE, || site.text("otter", "readiness") == "ssh");
    let vm = site.vm("otter");
    assert_eq!((&vm["state"], &vm["pid"]), (&json!("running"), pid));
}
