//! What a VM is given, and changing that.

use crate::stage::Site;

/// The processors, the memory in MiB, the size of /root's file system in MiB, a file on each disk.
const LOOK: &str = "nproc; awk '/^MemTotal/ {print int($2/1024)}' /proc/meminfo; \
                    df -m --output=size /root | tail -n 1; cat /root/file /file";

#[test]
fn what_is_set_holds_after_a_restart_and_files_stay() {
    let site = Site::new();
    let sizes = ["--vcpu", "1", "--memory", "512M", "--disk-size", "512M"];
    site.boot(&[&["vm", "create", "--name", "otter"], &sizes[..]].concat()).ok();
    let before = numbers(
        &site.ssh("otter", &format!("echo kept > /root/file; echo kept > /file; sync; {LOOK}")),
    );
    assert_eq!(before[0], 1);
    assert!((380..=512).contains(&before[1]) && (400..=512).contains(&before[2]), "{before:?}");

    let set = site.banger(&[
        "vm",
        "set",
        "otter",
        "--memory",
        "768M",
        "--vcpu",
        "2",
        "--disk-size",
        "2G",
    ]);
    assert_eq!(set.ok(), "otter: changed\n");
    set.says("note: the new sizes take effect when `otter` starts again");
    assert_eq!(
        site.banger(&["vm", "set", "otter", "--vcpu", "2"]).ok(),
        "otter: already as asked\n"
    );
    let shrunk = site.banger(&["vm", "set", "otter", "--disk-size", "1G"]);
    shrunk.refused("the work disk cannot shrink from 2 GiB to 1 GiB");

    site.boot(&["vm", "restart", "otter"]).shows("otter: ready in ");
    let after = numbers(&site.ssh("otter", LOOK));
    assert_eq!(after[0], 2);
    assert!((600..=768).contains(&after[1]) && (1_800..=2_048).contains(&after[2]), "{after:?}");

    let spec = site.vm("otter")["spec"].clone();
    let spec = ["vcpu", "memory", "work_disk"].map(|key| spec[key].as_u64().unwrap());
    assert_eq!(spec, [2, 768, 2_048]);
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

/// The first three lines, after a look at the files.
#[track_caller]
fn numbers(text: &str) -> [u32; 3] {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[3..], ["kept", "kept"], "{text}");
    [0, 1, 2].map(|line| lines[line].parse().unwrap())
}
