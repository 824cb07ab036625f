//! `banger uninstall`. What it takes back of firewalls is seen where there are some: in the testbed.

use crate::fake::{Fake, vm};
use crate::simulated::Simulated;
use crate::transcript::banger;
use insta::assert_snapshot;
use serde_json::json;
use std::fs;

#[test]
fn what_was_set_is_taken_back_and_what_stays_is_said() {
    let mut host = Simulated::new(&[]);
    let config = host.path("h/.ssh/config");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, "Host heron\n").unwrap();
    host.does(&[&["ssh-config", "--install"], &["vm", "create", "--name", "otter", "--no-start"]]);
    assert_ne!(fs::read_to_string(&config).unwrap(), "Host heron\n");
    assert_snapshot!(host.banger(&["uninstall"]), @r"
    exit: 0
    --- stdout
    `[DIR]/h/.ssh/config` is as it was before
    the daemon has stopped

    Banger's programs stay, its configuration file, and
      [DIR]/s
      [DIR]/r
    with the disks of VMs, images and logs. Remove them when you no longer need them.

    `net.ipv4.ip_forward` stays as it is, since others may need it by now, and so does what you have
    written yourself, as in files of a resolver (docs/dns.md).
    --- stderr
    ");
    assert!(host.ended().success());
    assert_eq!(fs::read_to_string(&config).unwrap(), "Host heron\n");
    assert!(host.path("s").exists(), "the disks are still there");
}

#[test]
fn nothing_is_taken_back_while_a_vm_runs() {
    let vms = [
        vm("otter", "running", "ssh"),
        vm("lynx", "stopped", "none"),
        vm("heron", "error", "none"),
    ];
    let fake = Fake::new().get("/v1/vms", json!({ "vms": vms })).serve();
    assert_snapshot!(banger(&fake, &["uninstall"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: cannot uninstall while VMs are not stopped: `otter` (running), `heron` (error)
    hint: `banger vm stop otter heron` keeps their disks, `banger vm delete otter heron` removes them
    ");
    assert_eq!(fake.asked(), ["GET /v1/vms"]);
}
