//! What a VM is given, and changing that.

use crate::stage::Site;

/// The processors, the memory in MiB, the sizes of /root's and of /'s file system in MiB, a file on
/// each disk, and whether the file at the root disk's end is as it was written.
const LOOK: &str = "nproc; awk '/^MemTotal/ {print int($2/1024)}' /proc/meminfo; \
                    df -m --output=size /root | tail -n 1; df -m --output=size / | tail -n 1; \
                    cat /root/file /file; md5sum --check --quiet /sum && echo whole";

/// Writes the files. For the one at the end all room but 200 MiB is taken first, without a write, and
/// the root disk has 256 MiB more than the image; so most of what is free is beyond the image's end.
const WRITE: &str = "echo kept > /root/file; echo kept > /file; \
                     fallocate -l $(($(df -m --output=avail / | tail -n 1) - 200))M /hog && \
                     head -c 16M /dev/urandom > /end && rm /hog && md5sum /end > /sum && sync";

#[test]
fn what_is_set_holds_after_a_restart_and_files_stay() {
    let site = Site::new();
    // The bundle's image measures 8 GiB.
    let sizes = ["--vcpu", "1", "--memory", "512M", "--disk-size", "512M"];
    let root = ["--overlay-size", "8448M"];
    site.boot(&[&["vm", "create", "--name", "otter"], &sizes[..], &root].concat()).ok();
    let before = numbers(&site.ssh("otter", &format!("{WRITE} && {{ {LOOK}; }}")));
    assert_eq!(before[0], 1);
    assert!((380..=512).contains(&before[1]) && (400..=512).contains(&before[2]), "{before:?}");
    assert!((8_193..=8_448).contains(&before[3]), "larger than the image: {before:?}");

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
        "--overlay-size",
        "8960M",
    ]);
    assert_eq!(set.ok(), "otter: changed\n");
    set.says("note: the new sizes take effect when `otter` starts again");
    assert_eq!(
        site.banger(&["vm", "set", "otter", "--vcpu", "2"]).ok(),
        "otter: already as asked\n"
    );
    let shrunk = site.banger(&["vm", "set", "otter", "--disk-size", "1G"]);
    shrunk.refused("the work disk cannot shrink from 2 GiB to 1 GiB");
    let shrunk = site.banger(&["vm", "set", "otter", "--overlay-size", "8G"]);
    shrunk.refused("the root overlay cannot shrink from 8960 MiB to 8 GiB");

    site.boot(&["vm", "restart", "otter"]).shows("otter: ready in ");
    let after = numbers(&site.ssh("otter", LOOK));
    assert_eq!(after[0], 2);
    assert!((600..=768).contains(&after[1]) && (1_800..=2_048).contains(&after[2]), "{after:?}");
    assert!((before[3] + 480..=8_960).contains(&after[3]), "{before:?} {after:?}");

    let spec = site.vm("otter")["spec"].clone();
    let spec = ["vcpu", "memory", "work_disk", "overlay"].map(|key| spec[key].as_u64().unwrap());
    assert_eq!(spec, [2, 768, 2_048, 8_960]);
    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

/// The first four lines, after a look at the files.
#[track_caller]
fn numbers(text: &str) -> [u32; 4] {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[4..], ["kept", "kept", "whole"], "{text}");
    [0, 1, 2, 3].map(|line| lines[line].parse().unwrap())
}
