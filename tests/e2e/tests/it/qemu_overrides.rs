//! Files of a user's own in the bundle's place, and a key of a user's own.

use crate::stage::{Call, QUICK, Site, marked_kernel, tool};
use std::fs;
use std::path::Path;

#[test]
fn a_vm_boots_a_kernel_and_is_entered_with_a_key_of_the_users_own() {
    let own = tempfile::tempdir().unwrap();
    let path = |name: &str| own.path().join(name).to_str().unwrap().to_owned();
    let [kernel, initrd, key] = ["vmlinux", "initrd", "id"].map(path);
    marked_kernel(Path::new(&kernel), Path::new(&initrd));
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "otter", "-f", &key]);
    let site = Site::with(&[
        format!("default_kernel = '{kernel}'"),
        format!("default_initrd = '{initrd}'"),
        format!("ssh_key_path = '{key}'"),
    ]);
    site.banger(&["daemon", "start"]).ok();
    provenance_is_told(&site, &[("default_kernel", 1), ("default_initrd", 2), ("ssh_key_path", 3)]);

    let ran = site.boot(&["vm", "run", "--name", "otter", "--", "cat /proc/version"]);
    assert!(ran.ok().contains("otter--kernel@"), "it is another kernel: {ran}");
    let keys = site.ssh("otter", "cat /root/.ssh/authorized_keys");
    let public = fs::read_to_string(format!("{key}.pub")).unwrap();
    let public = public.split(' ').nth(1).unwrap();
    assert_eq!(keys.matches("ssh-").count(), 1, "{keys}");
    assert!(keys.contains(public), "{keys}");
    entered_by_hand(&key);
    // Nobody needed a key of the daemon's own.
    assert!(!site.state().join("ssh/id_ed25519").exists());
    site.banger(&["doctor", "bundle"]).ok();

    site.banger(&["vm", "delete", "otter"]).ok();
    site.finish();
}

/// Each setting has its value by the line of the file that has it.
#[track_caller]
fn provenance_is_told(site: &Site, expected: &[(&str, u64)]) {
    let status = site.daemon();
    let settings = status["settings"].as_array().unwrap();
    for (key, line) in expected {
        let setting = settings.iter().find(|setting| setting["key"] == *key);
        let setting = setting.unwrap_or_else(|| panic!("no {key}: {status}"));
        assert!(setting["source"].as_str().unwrap().ends_with("/config.toml"), "{setting}");
        assert_eq!(setting["line"], *line, "{setting}");
    }
    let bundle = site.banger(&["bundle", "show"]);
    bundle.shows("default_kernel in line 1 of ").shows("default_initrd in line 2 of ");
}

/// The key is good for ssh without banger.
#[track_caller]
fn entered_by_hand(key: &str) {
    let options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"];
    let options = options.into_iter().flat_map(|option| ["-o", option]);
    let mut args: Vec<&str> = options.collect();
    args.extend(["-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-i", key]);
    args.extend(["root@172.16.0.2", "hostname"]);
    let entered = Call::new("ssh", &args).start().within(QUICK);
    assert_eq!(entered.ok(), "otter\n");
}
