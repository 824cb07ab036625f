//! Images of container tools: made with them, imported, and looked at in the file system itself.

use crate::stage::{Site, tool, until};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it may take from banger's init to the image's.
const PATIENCE: Duration = Duration::from_secs(60);
const INIT_SAYS: &str = "the init of the image runs";

/// `cap_net_raw=ep`, as `vfs_cap_data` of version 2 (linux/capability.h).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Opens the image's tree, has it changed, and makes a layer of the changes.
fn add_layer(layout: &Path, bundle: &Path, change: impl Fn(&Path)) {
    let image = format!("{}:otter", layout.display());
    let bundle_arg = bundle.to_str().unwrap();
    tool("umoci", &["unpack", "--image", &image, bundle_arg]);
    change(&bundle.join("rootfs"));
    tool("umoci", &["repack", "--image", &image, bundle_arg]);
    fs::remove_dir_all(bundle).unwrap();
}

fn lower(root: &Path) {
    for dir in ["etc", "usr/bin", "opt/old", "srv"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (name, content) in [
        ("etc/issue", "old"),
        ("etc/hidden", "hidden"),
        ("opt/old/file", "hidden"),
        ("usr/bin/su", "su"),
        ("usr/bin/ping", "ping"),
        ("srv/mine", "mine"),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
    chown(root.join("srv/mine"), Some(123_456), Some(2_000_000)).unwrap();
    fs::set_permissions(root.join("usr/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/su"), root.join("usr/bin/su-too")).unwrap();
    let attribute = |name: &str, key: &str, value: &[u8]| {
        setxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    attribute("usr/bin/ping", "security.capability", &CAPABILITY);
    attribute("srv/mine", "user.note", b"kept");
}

fn upper(root: &Path) {
    fs::remove_file(root.join("etc/hidden")).unwrap();
    fs::write(root.join("etc/issue"), "new").unwrap();
    fs::remove_dir_all(root.join("opt")).unwrap();
    fs::create_dir_all(root.join("opt/new")).unwrap();
}

/// What makes a VM of it: a shell with what it is linked to, and an init that says that it runs.
fn bootable(root: &Path) {
    let linked = tool("ldd", &["/bin/sh"]);
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/bin/sh"]) {
        let inside = root.join(&file[1..]);
        fs::create_dir_all(inside.parent().unwrap()).unwrap();
        fs::copy(file, inside).unwrap();
    }
    tool("mkfifo", &[root.join("never").to_str().unwrap()]);
    fs::create_dir_all(root.join("sbin")).unwrap();
    let init = root.join("sbin/init");
    fs::write(&init, format!("#!/bin/sh\necho '{INIT_SAYS}' >/dev/console\nread word </never\n"))
        .unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The image as `docker save` would write it, and an OCI layout with one more layer, which boots.
fn sources(dir: &Path) -> [PathBuf; 2] {
    let (layout, bundle) = (dir.join("layout"), dir.join("bundle"));
    let layout_arg = layout.to_str().unwrap();
    tool("umoci", &["init", "--layout", layout_arg]);
    let image = format!("{layout_arg}:otter");
    tool("umoci", &["new", "--image", &image]);
    add_layer(&layout, &bundle, lower);
    add_layer(&layout, &bundle, upper);
    let entrypoint = "--config.entrypoint=/bin/otter";
    tool("umoci", &["config", "--image", &image, entrypoint, "--config.label=role=web"]);
    let saved = dir.join("saved.tar");
    let [from, to] =
        [format!("oci:{image}"), format!("docker-archive:{}:otter:1", saved.display())];
    tool("skopeo", &["--insecure-policy", "copy", "--quiet", &from, &to]);
    add_layer(&layout, &bundle, bootable);
    [layout, saved]
}

/// The answers of debugfs, which reads the file system without mounting it.
struct Inside<'a>(&'a str);

impl Inside<'_> {
    fn ask(&self, request: &str) -> String {
        tool("debugfs", &["-R", request, self.0])
    }

    fn stat(&self, path: &str) -> String {
        self.ask(&format!("stat {path}"))
    }
}

fn is_as_it_was_made(rootfs: &str) {
    let inside = Inside(rootfs);
    assert_eq!(inside.ask("cat /etc/issue"), "new");
    assert!(!inside.ask("ls -p /etc").contains("hidden"));
    let opt = inside.ask("ls -p /opt");
    assert!(opt.contains("/new/") && !opt.contains("/old/"), "{opt}");
    let su = inside.stat("/usr/bin/su");
    assert!(su.contains("Mode:  04755") && su.contains("Links: 2"), "{su}");
    assert_eq!(su.lines().next(), inside.stat("/usr/bin/su-too").lines().next());
    let mine = inside.stat("/srv/mine");
    assert!(mine.contains("User: 123456") && mine.contains("Group: 2000000"), "{mine}");
    assert!(inside.ask("ea_get /srv/mine user.note").contains("kept"));
    let capability = inside.ask("ea_get -x /usr/bin/ping security.capability");
    assert!(capability.contains("01 00 00 02 00 20"), "{capability}");
    tool("e2fsck", &["-f", "-n", rootfs]);
}

/// A VM of the image comes as far as its init.
fn boots(site: &Site, image: &str) {
    site.boot(&["vm", "create", "--name", "otter", "--image", image, "--wait", "guest"]).ok();
    until("the image's init runs", PATIENCE, || {
        site.banger(&["vm", "logs", "otter"]).ok().contains(INIT_SAYS)
    });
    site.banger(&["vm", "delete", "otter"]).ok();
}

fn shown(site: &Site, name: &str) -> Value {
    site.banger(&["--json", "image", "show", name]).json()[0]["image"].clone()
}

#[test]
fn container_images_are_imported_with_all_that_they_hold() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    for (source, name, kind) in sources(dir.path())
        .into_iter()
        .zip(["layout", "saved"])
        .map(|(source, name)| (source, name, name.replace("layout", "oci_layout")))
    {
        let kind = kind.replace("saved", "docker_archive");
        let imported = site.banger(&["image", "import", source.to_str().unwrap(), "--name", name]);
        assert_eq!(imported.ok(), format!("{name}: imported\n"));
        imported.says("it has no ssh server");
        let no_init = "it has no init (none of /sbin/init, /etc/init, /bin/init is an executable)";
        assert_eq!(imported.stderr().contains(no_init), name == "saved", "{imported}");
        let image = shown(&site, name);
        assert_eq!((&image["kind"], &image["origin"]), (&"managed".into(), &"imported".into()));
        let import = &image["import"];
        assert_eq!(
            (&import["kind"], &import["container"]["entrypoint"][0]),
            (&kind.into(), &"/bin/otter".into())
        );
        assert_eq!(import["container"]["labels"]["role"], "web");
        let layers = if name == "saved" { 2 } else { 3 };
        assert_eq!(import["layers"].as_array().unwrap().len(), layers, "{import}");
        is_as_it_was_made(image["rootfs"].as_str().unwrap());
    }
    boots(&site, "layout");
    let home = site.home().to_str().unwrap().to_owned();
    let again = site.banger(&["image", "import", &home, "--name", "layout"]);
    again.refused("an image called `layout` exists already");
    site.banger(&["image", "import", "/nowhere", "--name", "none"])
        .refused("`/nowhere` does not exist");
    for name in ["layout", "saved"] {
        site.banger(&["image", "delete", name]).ok();
    }
    let left: Vec<_> = fs::read_dir(site.state().join("images")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    site.finish();
}
