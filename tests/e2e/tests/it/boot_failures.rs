//! Boots that fail: each tells why, and a VM that was being created is gone.

use crate::stage::{Site, Transcript, Variant, tool};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_guest_without_an_init_says_so() {
    let empty = Variant::legacy().replacing("rootfs.ext4", |path, file| {
        file.set_len(64 << 20).unwrap();
        tool("mke2fs", &["-q", "-t", "ext4", path.to_str().unwrap()]);
    });
    let site = Site::with(&[empty.setting()]);
    // Growing the file system to the usual size would take most of the test's time.
    let failed = site.boot(&["vm", "create", "--name", "otter", "--overlay-size", "64M"]);
    failed.code(1).says("error: `otter` ended while it booted: ").says("/sbin/init");
    failed.says("hint: ").says("log: ");
    console_is_kept(&failed, "banger-init: failed ");
    site.finish();
}

#[test]
fn a_guest_that_panics_says_so() {
    let panics = Variant::with_boot_args(&["rdinit=/nonexistent"]);
    let site = Site::with(&[panics.setting()]);
    let failed = site.boot(&["vm", "create", "--name", "otter"]);
    failed.code(1).says("error: `otter` ended while it booted: the guest kernel panicked: ");
    console_is_kept(&failed, "Kernel panic");
    site.assert_clean();

    // A VM of its own right stays, stopped, with the reason.
    site.banger(&["vm", "create", "--name", "heron", "--no-start"]).ok();
    let failed = site.boot(&["vm", "start", "heron"]);
    failed.code(1).says("the guest kernel panicked: ");
    assert_eq!(site.text("heron", "state"), "stopped");
    assert!(site.text("heron", "last_error").contains("panicked"), "{}", site.vm("heron"));
    failed.says("hint: `banger vm logs --why heron` ");
    for vm in ["heron", "otter"] {
        let why = site.banger(&["vm", "logs", "--why", vm]);
        why.code(0).shows("the kernel found no root file system (console").shows("> [");
    }
    site.assert_quiet();
    site.banger(&["vm", "delete", "heron"]).ok();
    site.finish();
}

#[test]
fn a_vmm_that_dies_at_once_is_quoted() {
    let vmm = vmm();
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("vmm");
    std::fs::write(&script, "#!/bin/sh\necho first words\necho last words >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let site = Site::with(&[format!("{vmm}_bin = '{}'", script.display())]);
    let failed = site.boot(&["vm", "create", "--name", "otter"]);
    failed.refused("could not prepare the host for `otter`");
    failed.says("caused by: ").says("ended at once with exit code 3").says("last words");
    site.finish();
}

#[test]
fn a_vmm_that_is_missing_is_named() {
    let vmm = vmm();
    let site = Site::with(&[format!("{vmm}_bin = '/nonexistent/{vmm}'")]);
    let failed = site.boot(&["vm", "create", "--name", "otter"]);
    failed.refused("").says(&format!("/nonexistent/{vmm}")).says(&format!("set `{vmm}_bin`"));
    assert_eq!(site.banger(&["--json", "vm", "list"]).json()["vms"], serde_json::json!([]));
    site.finish();
}

/// The VMM that these tests run with, by a daemon's account.
fn vmm() -> String {
    let site = Site::new();
    site.banger(&["daemon", "start"]).ok();
    let chosen = site.daemon()["vmm"]["chosen"].as_str().unwrap().to_owned();
    site.finish();
    chosen
}

/// The log that the error names outlives the VM.
#[track_caller]
fn console_is_kept(failed: &Transcript, text: &str) {
    let path = failed.stderr().lines().find_map(|line| line.strip_prefix("log: "));
    let log = std::fs::read(path.expect("the error names a log")).unwrap();
    assert!(String::from_utf8_lossy(&log).contains(text), "{failed}");
}
