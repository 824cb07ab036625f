//! What is refused before any VM boots, and what it leaves: nothing.

use crate::stage::{QUICK, Site, Variant, tool};
use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::io::Write;

#[test]
fn a_bundle_that_cannot_be_booted_from_is_told_with_its_remedy() {
    let missing = Site::with(&["bundle_dir = '/nonexistent/bundle'".to_owned()]);
    let failed = missing.boot(&["vm", "create", "--name", "otter"]);
    failed.refused("cannot use the runtime bundle").says("`/nonexistent/bundle`, which");
    failed.says("`bundle_dir` in line 1 of `").says("` names, does not exist");
    failed.says("hint: or build a bundle with `banger bundle build`");
    missing.banger(&["bundle", "show"]).code(1).says("`/nonexistent/bundle`, which");
    let doctor = missing.banger(&["--json", "doctor", "bundle"]);
    let check = &doctor.code(1).json()["checks"][0];
    assert_eq!((&check["name"], &check["verdict"]), (&"bundle".into(), &"fail".into()), "{doctor}");
    missing.finish();

    let dangling = Site::with(&["default_kernel = '/nonexistent/vmlinux'".to_owned()]);
    let failed = dangling.boot(&["vm", "create"]);
    failed.refused("cannot use the runtime bundle");
    failed.says("the kernel `/nonexistent/vmlinux`, which `default_kernel` in line 1 of `");
    failed.says("hint: set `default_kernel` to a file that can be used, or remove it");
    dangling.finish();

    let text = Variant::legacy().replacing("vmlinux", |_, mut file| {
        writeln!(file, "#!/usr/bin/env python").unwrap();
    });
    let site = Site::with(&[text.setting()]);
    let failed = site.boot(&["vm", "create"]);
    failed
        .refused("cannot use the runtime bundle")
        .says("vmlinux` is no kernel that can be booted");
    site.finish();

    let zeroes =
        Variant::legacy().replacing("rootfs.ext4", |_, file| file.set_len(64 << 20).unwrap());
    let site = Site::with(&[zeroes.setting()]);
    let failed = site.boot(&["vm", "run", "--rm", "--", "true"]);
    failed.refused("cannot use the runtime bundle").says("rootfs.ext4` is no ext4 file system");
    site.finish();
}

#[test]
fn an_init_that_needs_libraries_is_told_of_before_any_guest_panics() {
    let site = Site::new();
    let with = ["env", "BANGER_GUEST_INIT=/bin/true"];
    let failed = site.call_through(&with, &["daemon", "start"]).start().within(QUICK);
    failed.refused("the daemon did not start: ");
    failed.says("`/bin/true` cannot be the program with which every guest starts");
    failed.says("it is linked dynamically").says("hint: build it with `cargo xtask build`");
    site.finish();
}

#[test]
fn a_full_file_system_is_told_and_what_was_begun_is_undone() {
    let site = Site::with(&["overlay = 'copy'".to_owned()]);
    let options = CString::new("size=48m").unwrap();
    mount("tmpfs", site.state(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    let failed = site.boot(&["vm", "create", "--name", "otter"]);
    failed.refused("could not prepare the host for `otter`");
    failed.says("caused by: No space left on device").says("hint: free some room");
    site.assert_clean();
    site.banger(&["daemon", "stop"]).ok();
    rustix::mount::unmount(site.state(), rustix::mount::UnmountFlags::empty()).unwrap();
    site.finish();
}

#[test]
fn a_network_that_is_somebody_elses_is_left_alone() {
    let mut site = Site::new();
    tool("ip", &["link", "add", "theirs0", "type", "bridge"]);
    tool("ip", &["address", "add", "172.16.0.1/24", "dev", "theirs0"]);
    site.own_links();
    let failed = site.boot(&["vm", "create", "--name", "otter"]);
    failed.refused("could not prepare the network");
    failed.says("the bridge address 172.16.0.1/24 is in use: `theirs0` has 172.16.0.1/24");
    failed.says("hint: set another `bridge` and `subnet` in the configuration file");
    site.assert_clean();

    tool("ip", &["link", "delete", "theirs0"]);
    tool("ip", &["link", "add", "banger0", "type", "bridge"]);
    site.own_links();
    let failed = site.boot(&["vm", "create", "--name", "otter"]);
    failed.refused("could not prepare the network");
    failed.says("caused by: `banger0` exists and is not this daemon's");
    tool("ip", &["link", "show", "banger0"]);
    site.finish();
}

#[test]
fn names_references_and_values_that_cannot_be_are_refused() {
    let site = Site::with(&["subnet = '172.16.0.1/29'".to_owned()]);
    for name in ["otter", "otter-two", "heron"] {
        let created = site.banger(&["vm", "create", "--no-start", "--name", name]);
        assert_eq!(created.ok(), format!("{name}: created\n"));
    }
    let taken = site.banger(&["vm", "create", "--no-start", "--name", "otter"]);
    taken.refused("a VM called `otter` exists already");
    let unknown = site.banger(&["vm", "show", "ottre"]);
    unknown.refused("no VM is called `ottre`").says("hint: did you mean `otter`?");
    let ambiguous = site.banger(&["vm", "start", "ot"]);
    ambiguous.refused("`ot` could be any of `otter`, `otter-two`");
    ambiguous.says("hint: give more of the name, or the whole id");
    assert_eq!(site.vm("her")["name"], "heron");
    assert_eq!(site.vm("otter")["name"], "otter");

    values_are_refused(&site);

    for name in ["four", "five"] {
        site.banger(&["vm", "create", "--no-start", "--name", name]).ok();
    }
    let full = site.banger(&["vm", "create", "--no-start"]);
    full.refused("all 5 addresses of 172.16.0.1/29 are taken").says("hint: delete a VM, or set");
    let all = ["otter", "otter-two", "heron", "four", "five"];
    let deleted = site.banger(&[&["vm", "delete"], &all[..]].concat());
    assert_eq!(deleted.ok(), all.map(|name| format!("{name}: deleted\n")).concat());
    site.finish();
}

/// Values that no VM can have, at both ends.
fn values_are_refused(site: &Site) {
    for (flag, value, why) in [
        ("--memory", "0", "a size must be at least 1 MiB"),
        ("--memory", "-5", "`-5` is not a size"),
        ("--memory", "8GB", "`8GB` is not a size"),
        ("--vcpu", "0", "0 vCPUs cannot be had"),
        ("--vcpu", "99", "99 vCPUs cannot be had"),
        ("--disk-size", "200G", "a work disk of 200 GiB cannot be had"),
    ] {
        let refused = site.banger(&["vm", "set", "otter", flag, value]);
        refused.code(2).says("error: ").says(why);
    }
    site.banger(&["vm", "create", "--name", "Not_A_Name"]).code(2).says("error: ");
    site.banger(&["vm", "set", "otter"]).code(2).says("error: nothing to set was given");
    let shrunk = site.banger(&["vm", "set", "otter", "--disk-size", "4G"]);
    shrunk.refused("the work disk cannot shrink from 8 GiB to 4 GiB");
}
