//! `banger doctor` on hosts that are really broken, each in one way: it finds what is wrong, says
//! what mends it, and finds nothing else wrong. No VM is booted.

use crate::stage::{Site, Variant, tool};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Exactly these checks fail, and the remedies of each have this text.
#[track_caller]
fn assert_fails(site: &Site, expected: &[(&str, &str)]) {
    assert_found(&site.banger(&["--json", "doctor"]), expected);
}

#[track_caller]
fn assert_found(doctor: &crate::stage::Transcript, expected: &[(&str, &str)]) {
    let report = doctor.code(i32::from(!expected.is_empty())).json();
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["verdict"] == "fail");
    let failed: BTreeMap<String, String> = failed.map(told).collect();
    let names: Vec<&str> = failed.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "{failed:#?}");
    for (name, remedy) in expected {
        assert!(failed[*name].contains(remedy), "`{remedy}` is no remedy of {name}: {failed:#?}");
    }
}

/// A check's scope and name, with its remedies.
fn told(check: &Value) -> (String, String) {
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    let hints = check["hints"].as_array().unwrap().iter();
    let hints: Vec<&str> = hints.map(|hint| hint.as_str().unwrap()).collect();
    (format!("{} {}", text("scope"), text("name")), hints.join("\n"))
}

/// Something that lies over a path. It goes when this is dropped.
struct Cover(PathBuf);

impl Cover {
    /// An empty file system over a directory.
    fn empty(dir: impl Into<PathBuf>) -> Self {
        Self::of_size(dir, "64m")
    }

    fn of_size(dir: impl Into<PathBuf>, size: &str) -> Self {
        let dir = dir.into();
        let options = CString::new(format!("size={size},mode=755")).unwrap();
        mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self(dir)
    }

    /// A file that cannot be run over a program.
    fn program(name: &str) -> Self {
        let path = tool("which", &[name]);
        let path = PathBuf::from(path.trim()).canonicalize().unwrap();
        let plain = tempfile::NamedTempFile::new().unwrap();
        mount_bind(plain.path(), &path).unwrap();
        Self(path)
    }
}

impl Drop for Cover {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Makes a character device that anybody may open.
fn device(path: &str, major: u32, minor: u32) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
}

#[test]
fn nothing_is_wrong_with_a_complete_host() {
    let site = Site::new();
    assert_fails(&site, &[]);
    site.finish();
}

#[test]
fn programs_that_are_missing_are_found_with_their_packages() {
    let site = Site::new();
    assert_fails(&site, &[]);
    let covers = ["mke2fs", "nft"].map(Cover::program);
    assert_fails(
        &site,
        &[("disk mke2fs", "e2fsprogs"), ("import mke2fs", "e2fsprogs"), ("nat nft", "nftables")],
    );
    site.banger(&["vm", "create"]).refused("a VM cannot start on this host for 2 reasons");
    drop(covers);
    assert_fails(&site, &[]);
    site.finish();
}

#[test]
fn a_hidden_tun_device_is_found_with_its_module() {
    let site = Site::new();
    let cover = Cover::empty("/dev/net");
    assert_fails(&site, &[("vm tun", "modprobe tun")]);
    site.banger(&["vm", "create"]).refused("no TAP interface can be made: /dev/net/tun cannot be");
    drop(cover);
    site.finish();
}

#[test]
fn a_kvm_that_is_not_there_is_found_where_it_is_needed() {
    let firecracker = tempfile::tempdir().unwrap();
    let program = firecracker.path().join("firecracker");
    fs::write(&program, "#!/bin/sh\necho Firecracker v1.14.1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let site = Site::with(&[
        "vmm = 'firecracker'".to_owned(),
        "overlay = 'copy'".to_owned(),
        format!("firecracker_bin = '{}'", program.display()),
    ]);
    // The devices that programs need, and no other.
    let cover = Cover::empty("/dev");
    for (path, major, minor) in [
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/urandom", 1, 9),
        ("/dev/net/tun", 10, 200),
    ] {
        device(path, major, minor);
    }
    assert_fails(&site, &[("vm kvm", "or set `vmm = \"qemu\"`, which needs no KVM")]);
    site.banger(&["vm", "create"]).refused("Firecracker needs KVM: `/dev/kvm` does not exist");
    drop(cover);
    site.finish();
}

#[test]
fn a_full_state_directory_is_found_with_what_makes_room() {
    let site = Site::new();
    let cover = Cover::of_size(site.state(), "32m");
    assert_fails(&site, &[]);
    let filler = site.state().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    let room = "free some room, delete VMs";
    assert_fails(&site, &[("disk room", room), ("growth room", room), ("import room", room)]);
    drop(file);
    fs::remove_file(&filler).unwrap();
    assert_fails(&site, &[]);
    site.banger(&["daemon", "stop"]).ok();
    drop(cover);
    site.finish();
}

#[test]
fn a_port_that_somebody_else_has_is_found_with_who_it_is() {
    let site = Site::new();
    let held = (
        TcpListener::bind("127.0.0.1:42069").unwrap(),
        UdpSocket::bind("127.0.0.1:42069").unwrap(),
    );
    assert_fails(&site, &[("dns dns", "set another `dns_listen`")]);
    site.banger(&["doctor", "dns"]).code(1).shows("127.0.0.1:42069 is held by `");
    drop(held);
    site.finish();
}

#[test]
fn a_subnet_that_another_interface_has_is_found_with_its_name() {
    let mut site = Site::new();
    tool("ip", &["link", "add", "theirs0", "type", "bridge"]);
    tool("ip", &["address", "add", "172.16.0.9/24", "dev", "theirs0"]);
    tool("ip", &["link", "set", "theirs0", "up"]);
    site.own_links();
    assert_fails(&site, &[("network subnet", "set another `subnet`")]);
    site.banger(&["doctor", "network"]).code(1).shows("172.16.0.0/24 is routed to `theirs0`");
    site.finish();
}

#[test]
fn a_bundle_with_a_path_that_leads_nowhere_is_found_with_what_fetches_another() {
    let variant = Variant::with_boot_args(&["quiet"]).without("initrd");
    let site = Site::with(&[variant.setting()]);
    assert_fails(&site, &[("bundle bundle", "`banger bundle build`")]);
    site.banger(&["doctor", "bundle"]).code(1).shows("initrd`, which `bundle.json` names");
    site.finish();
}

#[test]
fn a_key_that_others_can_read_is_found_with_its_mode() {
    let site = Site::new();
    assert_fails(&site, &[]);
    let key = site.state().join("ssh/id_ed25519");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&site, &[("ssh key", "put the key back with mode 0600")]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    site.finish();
}

#[test]
fn a_daemon_without_privileges_is_found_with_what_gives_them() {
    const NOBODY: u32 = 65534;
    let site = Site::with(&["overlay = 'copy'".to_owned(), "vmm = 'qemu'".to_owned()]);
    // Some systems let everybody make TAP interfaces, and some root alone.
    let cover = Cover::empty("/dev/net");
    device("/dev/net/tun", 10, 200);
    let home = site.home().parent().unwrap().to_owned();
    for dir in [home.clone(), site.home(), site.state()] {
        chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let id = NOBODY.to_string();
    let nobody = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    let doctor = site.call_through(&nobody, &["--json", "doctor"]).start();
    let doctor = doctor.within(crate::stage::QUICK);
    let sudo = "use `sudo banger`";
    assert_found(&doctor, &[("vm privileges", sudo), ("import privileges", sudo)]);
    let create = site.call_through(&nobody, &["vm", "create"]).start();
    create.within(crate::stage::QUICK).refused("the daemon is not root");
    let stop = site.call_through(&nobody, &["daemon", "stop"]).start();
    stop.within(crate::stage::QUICK).ok();
    drop(cover);
    // What comes now is root's again.
    fs::remove_dir_all(site.runtime()).unwrap();
    for dir in [home, site.home(), site.state()] {
        chown(dir, Some(0), Some(0)).unwrap();
    }
    site.finish();
}
