//! VMs that do not end in good order.

use crate::stage::{Site, pid, until};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use std::time::Duration;

/// How long it may take until somebody has asked about an end. The daemon is told of it by the
/// kernel: one that is not told would look again only when it starts.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_vm_that_ends_is_told_of_and_starts_again_with_its_files() {
    let site = Site::new();
    site.boot(&["vm", "create", "--name", "otter"]).ok();
    site.ssh("otter", "echo kept > /in-root; echo kept > /root/in-work; sync");
    let killed = site.banger(&["vm", "kill", "otter"]);
    assert_eq!(killed.ok(), "otter: sent KILL\n");
    killed.says("note: `otter` was killed with SIGKILL");
    assert_eq!(ended(&site), "killed with SIGKILL");
    let again = site.banger(&["vm", "kill", "otter"]);
    again.refused("cannot kill `otter` while it is stopped");

    site.boot(&["vm", "start", "otter"]).ok();
    assert_eq!(site.vm("otter")["last_error"], json!(null));
    // Both file systems were in use: what tells a clean end in the other tests can be red.
    let after =
        site.ssh("otter", "cat /in-root /root/in-work; dmesg | grep -c 'recovery complete'");
    assert_eq!(after, "kept\nkept\n2\n");

    let process = pid(&site.vm("otter")["pid"]);
    kill_process(process, Signal::KILL).unwrap();
    until("the end is told", PATIENCE, || site.text("otter", "state") == "stopped");
    assert!(ended(&site).contains("signal 9"), "{}", site.vm("otter"));

    site.boot(&["vm", "start", "otter"]).ok();
    // Its session may end before it does.
    site.banger(&["vm", "ssh", "otter", "--", "systemctl poweroff --no-block"]);
    until("the guest is down", PATIENCE * 3, || site.text("otter", "state") == "stopped");
    assert_eq!(ended(&site), "", "it ended in good order");
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

#[test]
fn a_signal_by_name_goes_to_the_vmm() {
    let site = Site::new();
    site.boot(&["vm", "create", "--name", "otter", "--wait", "none"])
        .shows("otter: VMM started in ");
    let process = pid(&site.vm("otter")["pid"]);
    let status =
        || std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap();
    site.banger(&["vm", "kill", "--signal", "STOP", "otter"]).ok();
    until("the VMM is stopped", PATIENCE, || status().contains(") T "));
    site.banger(&["vm", "kill", "--signal", "cont", "otter"]).ok();
    until("the VMM goes on", PATIENCE, || !status().contains(") T "));
    let wrong = site.banger(&["vm", "kill", "--signal", "LOUD", "otter"]);
    wrong.code(1).says("error: `LOUD` ");
    assert_eq!(site.text("otter", "state"), "running");

    site.banger(&["vm", "kill", "--signal", "TERM", "otter"]).ok();
    assert_eq!(ended(&site), "killed with SIGTERM");
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

/// The VM is stopped and has left nothing; the reason that is told.
#[track_caller]
fn ended(site: &Site) -> String {
    let vm = site.vm("otter");
    assert_eq!((&vm["state"], &vm["pid"]), (&json!("stopped"), &json!(null)), "{vm}");
    site.assert_quiet();
    vm["last_error"].as_str().unwrap_or_default().to_owned()
}
