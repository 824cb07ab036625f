//! `vm run`: a VM for one command.

use crate::stage::{Site, until};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_command_has_a_vm_of_a_registered_image_for_itself_and_leaves_nothing() {
    let site = Site::new();
    let default = site.banger(&["--json", "image", "show", "default"]);
    let rootfs = default.json()[0]["image"]["rootfs"].as_str().unwrap().to_owned();
    let files = ["--rootfs", &rootfs, "--boot-arg", "otter=registered"];
    let register = site.call(&[&["image", "register", "--name", "dev"], &files[..]].concat());
    assert_eq!(register.start().within(PATIENCE).ok(), "dev: registered\n");

    let line = "uname -a; cat /proc/cmdline; exit 7";
    let ran = site.boot(&["vm", "run", "--rm", "--image", "dev", "--", line]);
    ran.code(7);
    let lines: Vec<&str> = ran.stdout().lines().collect();
    assert_eq!(lines.len(), 2, "standard output is the command's alone:\n{ran}");
    assert!(lines[0].starts_with("Linux ") && lines[0].ends_with(" GNU/Linux"), "{ran}");
    assert!(!lines[0].contains(&host_release()), "the host's kernel answered:\n{ran}");
    // Firecracker adds the places of its devices to what it is given.
    let is_given = |word: &&str| !word.starts_with("virtio_mmio.device=");
    let given = lines[1].split(' ').rfind(is_given);
    assert_eq!(given, Some("otter=registered"), "the image's words come last:\n{ran}");

    assert_eq!(site.banger(&["image", "delete", "dev"]).ok(), "dev: deleted\n");
    assert!(Path::new(&rootfs).exists(), "a registered file stays");
    site.finish();
}

#[test]
fn an_interrupt_during_the_boot_leaves_nothing() {
    let site = Site::new();
    // At a moment in the boot of the guest, and before the VM has a process at all.
    for moment in ["running", ""] {
        let run = site.begin_boot(&["vm", "run", "--rm", "--name", "otter", "--", "true"]);
        until("the VM has come so far", PATIENCE, || {
            let shown = site.banger(&["--json", "vm", "show", "otter"]);
            let state = shown.json()[0]["vm"]["state"].as_str().map(str::to_owned);
            state.is_some_and(|state| state == moment || moment.is_empty())
        });
        run.signal(Signal::INT);
        let ended = run.within(PATIENCE);
        ended.code(130).says("interrupted; deleting `otter`");
        site.assert_clean();
    }
    site.finish();
}

fn host_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim().to_owned()
}
