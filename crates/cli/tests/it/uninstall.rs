//! `banger uninstall`. What it takes back is seen where there are firewalls: in the testbed.

use crate::fake::{Fake, vm};
use crate::transcript::banger;
use insta::assert_snapshot;
use serde_json::json;

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
