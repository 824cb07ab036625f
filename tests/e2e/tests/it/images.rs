//! Building images by booting one.

use crate::stage::{Repository, Site, kernel_module, marked_kernel, tool};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// How long a build may take: the boot of its VM, the work, its end.
const BUILD: Duration = Duration::from_secs(600);
/// A kernel that nobody has.
const RELEASE: &str = "6.1.0-otter";
/// What is looked at in a guest of the image.
const LOOK: &str = "cat /opt/otter /opt/heron /etc/built-by /srv/files/sub/note; \
                    stat -c %a /srv/files/sub/note; dpkg-query -W otter heron; \
                    grep -c dummy.ko /lib/modules/6.1.0-otter/modules.dep; \
                    df -m --output=size / | tail -n 1; ls /var/lib/apt/lists /var/tmp; \
                    cat /etc/built-under /proc/version | grep -c otter--kernel | sed s,^,marked:,; \
                    cat /etc/machine-id; ls /etc/ssh | grep -c ssh_host";

fn document(path: &str, suffix: &str) -> Value {
    serde_json::from_slice(&fs::read(format!("{path}{suffix}")).unwrap()).unwrap()
}

fn script(path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What debugfs(8) says of an image, which is mounted nowhere.
fn debugfs(rootfs: &str, request: &str) -> String {
    tool("debugfs", &["-R", request, rootfs])
}

/// The names in a directory of an image.
fn names_in(rootfs: &str, dir: &str) -> Vec<String> {
    // A line is `/inode/mode/owner/group/name/size/`.
    let listed = debugfs(rootfs, &format!("ls -p {dir}"));
    let names = listed.lines().filter_map(|line| line.split('/').nth(5));
    names.filter(|name| ![".", ".."].contains(name)).map(str::to_owned).collect()
}

/// Nothing is in the image of who the guest was that it was made in, and nothing that it downloaded.
fn assert_is_nobodys(rootfs: &str) {
    // A name that is there, one that is not, in each directory: what is not read is no proof.
    for (dir, there, gone) in [
        ("/etc/ssh", "sshd_config", "ssh_host_"),
        ("/etc", "machine-id", "hostname"),
        ("/etc", "passwd", "resolv.conf"),
        ("/root/.ssh", "authorized_keys", "id_"),
        ("/var/lib/apt/lists", "partial", "172.16.0.1"),
        ("/var/cache/apt/archives", "partial", "otter"),
        ("/var/cache/apt", "archives", "pkgcache"),
    ] {
        let names = names_in(rootfs, dir);
        assert!(names.iter().any(|name| name == there), "{dir}: {names:?}");
        assert!(!names.iter().any(|name| name.starts_with(gone)), "{dir}: {names:?}");
    }
    for empty in ["/etc/machine-id", "/root/.ssh/authorized_keys"] {
        assert_eq!(debugfs(rootfs, &format!("cat {empty}")), "", "{empty}");
    }
    let is_there = |path| debugfs(rootfs, &format!("stat {path}")).contains("Inode: ");
    assert!(is_there("/var/lib/dpkg/status"));
    for path in ["/var/tmp/banger-build", "/var/lib/systemd/random-seed"] {
        assert!(!is_there(path), "{path}");
    }
}

#[test]
fn an_image_is_built_with_packages_modules_files_and_scripts_and_vms_boot_from_it() {
    let site = Site::new();
    let repository = Repository::serve(&[("otter", "1.2", "heron"), ("heron", "0.9-1", "")]);
    let text = |name: &str| repository.path(name).to_str().unwrap().to_owned();
    fs::write(repository.path("sources"), Repository::SOURCE).unwrap();
    fs::write(repository.path("list"), "# what is needed\nOtter\n\notter # twice\n").unwrap();
    fs::create_dir_all(repository.path("files/sub")).unwrap();
    script(&repository.path("files/sub/note"), "a note\n");
    let modules = repository.path("lib/modules").join(RELEASE);
    fs::create_dir_all(modules.join("kernel")).unwrap();
    kernel_module("dummy.ko", &modules.join("kernel/dummy.ko"));
    marked_kernel(&repository.path("vmlinux"), &repository.path("initrd"));
    let setup = script(
        &repository.path("setup"),
        "#!/bin/sh\nset -e\ncat /opt/otter\necho \"$HOME $(pwd) $LC_ALL\" > /etc/built-by\n\
         cp /proc/version /etc/built-under\n",
    );
    let copies = [
        format!("{}:/etc/apt/sources.list", text("sources")),
        format!("{}:/srv/files", text("files")),
    ];
    let arguments = |name: &'static str| {
        let mut all = vec!["image", "build", "--name", name, "--size", "9G"];
        all.extend(["--copy", &copies[0], "--copy", &copies[1], "--script", &setup]);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let build = |name: &'static str, more: &[&str]| {
        let mut all = arguments(name);
        all.extend(["--packages".to_owned(), text("list"), "--modules".to_owned(), text("")]);
        all.extend(["--kernel".to_owned(), text("vmlinux"), "--initrd".to_owned(), text("initrd")]);
        all.extend(more.iter().map(|word| (*word).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        site.call(&all).start().within(BUILD)
    };
    build("dev", &[]).shows("dev: built in ").says("note: what the guest says goes to `");
    site.assert_quiet();

    let image = site.banger(&["--json", "image", "show", "dev"]).code(0).json()[0]["image"].clone();
    assert_eq!((&image["kind"], &image["origin"]), (&"managed".into(), &"built".into()));
    assert_eq!(image["size_bytes"], 9u64 << 30);
    let rootfs = image["rootfs"].as_str().unwrap();
    assert_is_nobodys(rootfs);
    let manifest = document(rootfs, ".packages.json");
    assert_eq!(manifest["request"]["packages"], serde_json::json!(["otter"]));
    assert_eq!(manifest["package_manager"], "apt");
    let resolved = manifest["packages"].clone();
    let version = |name: &str| {
        let found = resolved.as_array().unwrap().iter().find(|package| package["name"] == name);
        found.unwrap()["version"].as_str().unwrap().to_owned()
    };
    assert_eq!((version("otter"), version("heron")), ("1.2".to_owned(), "0.9-1".to_owned()));
    assert!(!version("systemd").is_empty());
    let sbom = document(rootfs, ".spdx.json");
    assert_eq!(sbom["packages"].as_array().unwrap().len(), resolved.as_array().unwrap().len() + 1);

    site.boot(&["vm", "create", "--name", "lynx", "--image", "dev", "--overlay-size", "9G"]).ok();
    let look = site.ssh("lynx", LOOK);
    let lines: Vec<&str> = look.lines().collect();
    assert_eq!(lines[0], "1.20.9-1/root /root C.UTF-8", "{look}");
    assert_eq!(&lines[1..3], ["a note", "755"], "{look}");
    assert_eq!(&lines[3..5], ["heron\t0.9-1", "otter\t1.2"], "{look}");
    assert_eq!(lines[5], "1", "{look}");
    assert!((8_500..=9_216).contains(&lines[6].trim().parse::<u32>().unwrap()), "{look}");
    // What the build ran under, and this VM.
    assert!(look.contains("\nmarked:2\n"), "{look}");
    // No lists of packages and no scripts, an identity of its own.
    assert!(!look.contains("172.16.0.1") && !look.contains("banger-build"), "{look}");
    assert_eq!(*lines.last().unwrap(), "2", "the key of this VM and its public part:\n{look}");
    let in_use = site.banger(&["image", "delete", "dev"]);
    in_use.refused("the image `dev` is in use by `lynx`");
    site.banger(&["vm", "delete", "lynx"]).ok();

    build("again", &[]).shows("again: built in ");
    let image = site.banger(&["--json", "image", "show", "again"]).json()[0]["image"].clone();
    let again = document(image["rootfs"].as_str().unwrap(), ".packages.json");
    assert_eq!(again["packages"], resolved, "the same inputs resolve to the same list");
    assert_eq!(again["request"], manifest["request"]);
    for name in ["dev", "again"] {
        site.banger(&["image", "delete", name]).ok();
    }
    site.finish();
}

#[test]
fn a_build_that_fails_or_is_interrupted_leaves_its_log_and_nothing_else() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let bad = script(&dir.path().join("bad"), "echo trying\necho 'no luck' >&2\nexit 3\n");
    let failed = site.call(&["image", "build", "--name", "dev", "--script", &bad]).start();
    let failed = failed.within(BUILD);
    failed.code(1).says("error: could not build the image `dev`").says("ended with exit code 3");
    failed.says("trying | no luck");
    let log = failed.stderr().lines().find_map(|line| line.split("goes to `").nth(1)).unwrap();
    let said = fs::read_to_string(log.trim_end_matches('`')).unwrap();
    assert!(said.contains("\nno luck\n"), "{said}");
    site.assert_clean();

    let slow = script(&dir.path().join("slow"), "echo waiting\nexec sleep 600\n");
    let running = site.call(&["image", "build", "--name", "dev", "--script", &slow]).start();
    let logs = site.state().join("builds");
    let begun = || {
        let mut logs = fs::read_dir(&logs).unwrap().map(|log| log.unwrap().path());
        logs.any(|log| fs::read_to_string(log).unwrap().contains("\nwaiting\n"))
    };
    crate::stage::until("the script runs", BUILD, begun);
    site.banger(&["vm", "list"]).shows("running (build)");
    running.signal(Signal::INT);
    running.within(BUILD).code(130).says("interrupted; ending the build");
    assert_eq!(
        site.banger(&["--json", "image", "list"]).json()["images"].as_array().unwrap().len(),
        1
    );
    site.finish();
}
