//! Files that VMs boot from, and that are gone or something else.

use crate::simulated::Simulated;
use insta::assert_snapshot;
use std::fs;
use std::path::Path;

/// The smallest that passes for a kernel: an ELF header for x86-64.
pub(super) fn kernel() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    (elf[16], elf[18]) = (2, 62);
    elf
}

/// What begins as an ext4 file system does.
pub(super) fn rootfs() -> Vec<u8> {
    let mut ext4 = vec![0; 4096];
    ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    ext4
}

/// An empty archive of the kind `newc`.
fn initrd() -> Vec<u8> {
    let mut archive = b"070701".to_vec();
    archive.extend(b"00000000".repeat(11));
    archive.extend(b"0000000b00000000TRAILER!!!\0");
    archive.extend([0; 8]);
    archive
}

/// A host whose VMs boot from a bundle of three files, after a change of that.
fn with_bundle(change: impl Fn(&Path)) -> Simulated {
    with_bundle_and("", change)
}

fn with_bundle_and(config: &str, change: impl Fn(&Path)) -> Simulated {
    let mut host = Simulated::absent();
    let bundle = host.path("bundle");
    fs::create_dir(&bundle).unwrap();
    for (name, content) in [("vmlinux", kernel()), ("initrd", initrd()), ("rootfs.ext4", rootfs())]
    {
        fs::write(bundle.join(name), content).unwrap();
    }
    fs::write(host.path("init"), kernel()).unwrap();
    change(&bundle);
    let config = format!("bundle_dir = '{}'\n{config}", bundle.display());
    fs::write(host.path("config.toml"), config).unwrap();
    host.restart(&["--sim-bundle"]);
    host
}

const CREATE: [&str; 4] = ["vm", "create", "--name", "otter"];

/// What a create says, which leaves nothing.
#[track_caller]
fn refused(host: &Simulated) -> String {
    let said = host.refusal(&CREATE);
    host.assert_nothing_is_left();
    said
}

#[test]
fn a_whole_bundle_boots() {
    with_bundle(|_| {}).does(&[&CREATE]);
}

#[test]
fn a_part_of_the_bundle_that_is_missing_is_named() {
    let without =
        |name: &'static str| with_bundle(move |dir| fs::remove_file(dir.join(name)).unwrap());
    assert_snapshot!(refused(&without("vmlinux")), @r"
    error: cannot use the runtime bundle
    caused by: the bundle `[DIR]/bundle` is half unpacked: `vmlinux` is missing
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
    assert_snapshot!(refused(&without("rootfs.ext4")), @r"
    error: cannot use the runtime bundle
    caused by: the bundle `[DIR]/bundle` is half unpacked: `rootfs.ext4` is missing
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
    assert_snapshot!(refused(&with_bundle(|dir| fs::remove_dir_all(dir).unwrap())), @r"
    error: cannot use the runtime bundle
    caused by: the bundle's directory `[DIR]/bundle`, which `bundle_dir` in line 1 of `[DIR]/config.toml` names, does not exist
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    hint: or set `bundle_dir` to a bundle that is there; then `banger daemon restart`
    ");
    assert_snapshot!(refused(&with_bundle(|dir| {
        fs::remove_dir_all(dir).unwrap();
        fs::create_dir(dir).unwrap();
    })), @r"
    error: cannot use the runtime bundle
    caused by: `[DIR]/bundle` is no bundle: it has no `bundle.json`
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
}

#[test]
fn a_part_that_the_manifest_names_and_that_is_not_there_is_told_with_both() {
    let manifest = |dir: &Path| {
        let text = r#"{"version": 1, "name": "default", "kernel": "vmlinux", "initrd": "initrd-2",
            "rootfs": "rootfs.ext4", "boot_args": []}"#;
        fs::write(dir.join("bundle.json"), text).unwrap();
    };
    assert_snapshot!(refused(&with_bundle(manifest)), @r"
    error: cannot use the runtime bundle
    caused by: the initrd `[DIR]/bundle/initrd-2`, which `bundle.json` names, does not exist
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
}

#[test]
fn a_setting_that_leads_nowhere_is_named_with_its_line() {
    let host = with_bundle_and("default_kernel = '/nonexistent/vmlinux'\n", |_| {});
    assert_snapshot!(refused(&host), @r"
    error: cannot use the runtime bundle
    caused by: the kernel `/nonexistent/vmlinux`, which `default_kernel` in line 2 of `[DIR]/config.toml` names, does not exist
    hint: set `default_kernel` to a file that can be used, or remove it; then `banger daemon restart`
    ");
}

#[test]
fn a_part_that_is_something_else_is_told() {
    let with = |name: &'static str| {
        with_bundle(move |dir| fs::write(dir.join(name), "#!/bin/python\n").unwrap())
    };
    assert_snapshot!(refused(&with("vmlinux")), @r"
    error: cannot use the runtime bundle
    caused by: the bundle `[DIR]/bundle` cannot be booted from
    caused by: `[DIR]/bundle/vmlinux` is no kernel that can be booted
    caused by: it is neither an ELF file nor a bzImage
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
    assert_snapshot!(refused(&with("rootfs.ext4")), @r"
    error: cannot use the runtime bundle
    caused by: the bundle `[DIR]/bundle` cannot be booted from
    caused by: `[DIR]/bundle/rootfs.ext4` is no ext4 file system
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
}

#[test]
fn a_changed_checksum_is_told() {
    let host = with_bundle(|dir| {
        let record = r#"{"bytes": 64, "sha256": "0000000000000000000000000000000000000000000000000000000000000000"}"#;
        let text = format!(
            r#"{{"version": 2, "name": "default", "kernel": "vmlinux", "initrd": "initrd",
            "rootfs": "rootfs.ext4", "boot_args": [], "provenance": {{ "files": {{ "vmlinux": {record} }} }} }}"#
        );
        fs::write(dir.join("bundle.json"), text).unwrap();
    });
    let said = host.banger(&["bundle", "verify"]);
    assert_snapshot!(said, @r"
    exit: 1
    --- stdout
    --- stderr
    error: the runtime bundle is not as it should be
    caused by: `[DIR]/bundle/vmlinux` has changed: its SHA-256 is 03c9124502d324f4b404e9142e7bc955fb64554b267be3ff67698a9e782c4989, and was 0000000000000000000000000000000000000000000000000000000000000000
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    operation: [OP]
    ");
}

/// An image of files of a user's own.
fn registered(host: &Simulated) {
    fs::write(host.path("own.ext4"), rootfs()).unwrap();
    fs::write(host.path("own-kernel"), kernel()).unwrap();
    let files = ["--rootfs", "own.ext4", "--kernel", "own-kernel"];
    host.does(&[&[&["image", "register", "--name", "own"], &files[..]].concat()]);
}

#[test]
fn an_image_whose_files_are_gone_is_told_wherever_it_is_used() {
    let host = Simulated::new(&[]);
    registered(&host);
    let heron = ["vm", "create", "--name", "heron", "--image", "own", "--no-start"];
    host.does(&[&heron]);
    fs::remove_file(host.path("own.ext4")).unwrap();
    let create = [&CREATE[..], &["--image", "own"]].concat();
    assert_snapshot!(host.refusal(&create), @r"
    error: cannot use the image `own`
    caused by: the root file system `[DIR]/own.ext4` does not exist
    hint: check the path; where it was right before, put the file back
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["vm", "start", "heron"]), @r"
    error: cannot use the image `own`
    caused by: the root file system `[DIR]/own.ext4` does not exist
    hint: check the path; where it was right before, put the file back
    operation: [OP]
    ");
    assert_snapshot!(host.banger(&["image", "list"]).split_once("--- stderr\n").unwrap().1, @r"
    error: own: cannot use the image `own`
    caused by: the root file system `[DIR]/own.ext4` does not exist
    hint: check the path; where it was right before, put the file back
    ");
    fs::write(host.path("own.ext4"), rootfs()).unwrap();
    fs::remove_file(host.path("own-kernel")).unwrap();
    assert_snapshot!(host.refusal(&create), @r"
    error: cannot use the image `own`
    caused by: the kernel `[DIR]/own-kernel` does not exist
    hint: check the path; where it was right before, put the file back
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["vm", "start", "heron"]), @r"
    error: cannot use the image `own`
    caused by: the kernel `[DIR]/own-kernel` does not exist
    hint: check the path; where it was right before, put the file back
    operation: [OP]
    ");
}

#[test]
fn what_cannot_be_registered_is_told_with_the_file() {
    let host = Simulated::new(&[]);
    fs::write(host.path("own.ext4"), rootfs()).unwrap();
    fs::write(host.path("own-kernel"), kernel()).unwrap();
    let register =
        |more: &[&str]| host.refusal(&[&["image", "register", "--name", "own"], more].concat());
    assert_snapshot!(register(&["--rootfs", "gone.ext4"]), @r"
    error: cannot use the image `own`
    caused by: the root file system `[DIR]/gone.ext4` does not exist
    hint: check the path; where it was right before, put the file back
    operation: [OP]
    ");
    assert_snapshot!(register(&["--rootfs", "config.toml"]), @r"
    error: cannot use the image `own`
    caused by: `[DIR]/config.toml` is no ext4 file system
    hint: give a raw image with an ext4 file system from its first byte
    operation: [OP]
    ");
    assert_snapshot!(register(&["--rootfs", "own.ext4", "--kernel", "own.ext4"]), @r"
    error: cannot use the image `own`
    caused by: `[DIR]/own.ext4` is no kernel that can be booted
    caused by: it is neither an ELF file nor a bzImage
    hint: give an ELF `vmlinux` for x86-64
    operation: [OP]
    ");
    assert_snapshot!(register(&["--rootfs", "own.ext4", "--kernel", "own-kernel", "--initrd", "gone"]), @r"
    error: cannot use the image `own`
    caused by: the initrd `[DIR]/gone` does not exist
    hint: check the path; where it was right before, put the file back
    operation: [OP]
    ");
}
