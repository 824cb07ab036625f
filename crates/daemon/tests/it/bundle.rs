//! Showing, verifying and fetching a bundle that is really there, over a simulated host.

use crate::client::Answer;
use crate::server::{Server, Setup};
use banger_engine::Images;
use banger_image::bundle::{BundleSource, Override, Role};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The smallest that passes for a kernel: an ELF header for x86-64.
fn kernel() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    elf[16] = 2;
    elf[18] = 62;
    elf
}

fn rootfs() -> Vec<u8> {
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

const FILES: [&str; 3] = ["vmlinux-1", "initrd-1", "rootfs-1.ext4"];

/// A bundle in a directory of its own, and a daemon for it.
struct Scene {
    dir: tempfile::TempDir,
    server: Server,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| Vec::new()).await
    }

    /// One of which some parts are elsewhere.
    async fn with(overrides: impl Fn(&Path) -> Vec<Override>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bundle")).unwrap();
        let images = Some(Images::Bundle(BundleSource {
            overrides: overrides(dir.path()),
            ..BundleSource::at(dir.path().join("bundle"))
        }));
        // Any program that needs no libraries.
        let guest_init = dir.path().join("init");
        fs::write(&guest_init, kernel()).unwrap();
        let server = Server::with(Setup { images, guest_init, ..Setup::default() }).await;
        Self { dir, server }
    }

    /// A bundle that a build could have made.
    async fn built() -> Self {
        let scene = Self::new().await;
        for (name, content) in FILES.into_iter().zip([kernel(), initrd(), rootfs()]) {
            scene.put(name, &content);
        }
        let sum = |content: &[u8]| sha256(content);
        let record = |content: &[u8]| json!({ "bytes": content.len(), "sha256": sum(content) });
        scene.manifest(&json!({
            "version": 2, "name": "default", "kernel": "vmlinux-1", "initrd": "initrd-1",
            "rootfs": "rootfs-1.ext4", "boot_args": ["net.ifnames=0"],
            "provenance": {
                "built": "2026-01-02T03:04:05Z", "suite": "bookworm",
                "packages": [{ "name": "bash", "version": "5.2" }],
                "files": {
                    "vmlinux-1": record(&kernel()), "initrd-1": record(&initrd()),
                    "rootfs-1.ext4": record(&rootfs()),
                },
            },
        }));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("bundle").join(name)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn manifest(&self, manifest: &Value) {
        self.put("bundle.json", manifest.to_string().as_bytes());
    }

    async fn verify(&self) -> String {
        self.said(&self.server.ask("POST", "/v1/bundle/verify", "").await)
    }

    async fn fetch(&self, body: &Value) -> String {
        self.said(&self.server.ask("POST", "/v1/bundle/fetch", &body.to_string()).await)
    }

    /// The end of an operation as the client tells it, without what changes from run to run.
    fn said(&self, answer: &Answer) -> String {
        let last = if answer.status == 200 {
            let last = answer.events().pop().unwrap();
            last.get("error").or(last.get("outcome")).unwrap().clone()
        } else {
            answer.json()
        };
        let mut text = match last.get("code") {
            Some(code) => format!("{}: {}\n", code.as_str().unwrap(), text(&last["message"])),
            None => format!("done, changed: {}\n", last["changed"]),
        };
        for (label, key) in [("caused by", "causes"), ("hint", "hints"), ("note", "notes")] {
            for line in last[key].as_array().into_iter().flatten() {
                writeln!(text, "{label}: {}", self::text(line)).unwrap();
            }
        }
        text.replace(self.dir.path().to_str().unwrap(), "[DIR]")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn sha256(content: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_bundle_is_shown_with_its_parts_and_its_manifest() {
    let scene = Scene::built().await;
    let status = scene.server.get("/v1/bundle").await.json();
    assert_eq!(status["problem"], Value::Null);
    let parts = status["content"]["parts"].as_array().unwrap();
    let roles: Vec<&str> = parts.iter().map(|part| part["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["kernel", "initrd", "root file system"]);
    assert_eq!(parts[0]["named_by"], "bundle.json");
    assert_eq!((&parts[0]["bytes"], &parts[0]["sha256"]), (&json!(64), &json!(sha256(&kernel()))));
    assert_eq!(status["content"]["manifest"]["provenance"]["suite"], "bookworm");
    insta::assert_snapshot!(scene.verify().await, @"done, changed: false");
}

#[tokio::test]
async fn parts_that_are_elsewhere_are_told_with_key_file_and_line_also_over_a_legacy_layout() {
    let scene = Scene::with(|dir| {
        let given = |role, key, name: &str, line: u32| Override {
            role,
            path: dir.join(name),
            key,
            origin: format!("line {line} of `/etc/b/config.toml`"),
        };
        vec![
            given(Role::Kernel, "default_kernel", "my-kernel", 3),
            given(Role::Modules, "default_modules_dir", "my-modules", 4),
        ]
    })
    .await;
    for (name, content) in ["initrd", "rootfs.ext4"].into_iter().zip([initrd(), rootfs()]) {
        scene.put(name, &content);
    }
    fs::create_dir(scene.dir.path().join("my-modules")).unwrap();
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: the kernel `[DIR]/my-kernel`, which `default_kernel` in line 3 of `/etc/b/config.toml` names, does not exist
    hint: set `default_kernel` to a file that can be used, or remove it; then `banger daemon restart`
    ");
    fs::write(scene.dir.path().join("my-kernel"), "#!/bin/sh").unwrap();
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: cannot boot from what `default_kernel` in line 3 of `/etc/b/config.toml` names
    caused by: `[DIR]/my-kernel` is no kernel that can be booted
    caused by: it is neither an ELF file nor a bzImage
    hint: set `default_kernel` to a file that can be used, or remove it; then `banger daemon restart`
    ");
    fs::write(scene.dir.path().join("my-kernel"), kernel()).unwrap();
    insta::assert_snapshot!(scene.verify().await, @r"
    done, changed: false
    note: no checksum of `[DIR]/my-kernel` is known
    note: no checksum of `[DIR]/bundle/initrd` is known
    note: no checksum of `[DIR]/bundle/rootfs.ext4` is known
    ");
    let status = scene.server.get("/v1/bundle").await.json();
    let parts = status["content"]["parts"].as_array().unwrap();
    let told: Vec<String> = parts
        .iter()
        .map(|part| format!("{}: {}", text(&part["role"]), text(&part["named_by"])))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    kernel: default_kernel in line 3 of /etc/b/config.toml
    initrd: the legacy file names
    root file system: the legacy file names
    module tree: default_modules_dir in line 4 of /etc/b/config.toml
    ");
}

#[tokio::test]
async fn a_legacy_layout_is_shown_and_verified_without_checksums() {
    let scene = Scene::new().await;
    for (name, content) in
        ["vmlinux", "initrd", "rootfs.ext4"].into_iter().zip([kernel(), initrd(), rootfs()])
    {
        scene.put(name, &content);
    }
    let status = scene.server.get("/v1/bundle").await.json();
    assert_eq!(status["content"]["manifest"], Value::Null);
    assert_eq!(status["content"]["parts"][2]["named_by"], "the legacy file names");
    insta::assert_snapshot!(scene.verify().await, @r"
    done, changed: false
    note: no checksum of `[DIR]/bundle/vmlinux` is known
    note: no checksum of `[DIR]/bundle/initrd` is known
    note: no checksum of `[DIR]/bundle/rootfs.ext4` is known
    ");
    fs::remove_file(scene.path("initrd")).unwrap();
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: the bundle `[DIR]/bundle` is half unpacked: `initrd` is missing
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
}

#[tokio::test]
async fn an_empty_directory_and_an_empty_template_are_told_apart() {
    let scene = Scene::new().await;
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: `[DIR]/bundle` is no bundle: it has no `bundle.json`
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
    scene.put("bundle.json", b"{\"version\": 2, \"kernel\": \"\", \"rootfs\": \"\"}");
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: `[DIR]/bundle/bundle.json` is an empty template: it names no files
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
}

#[tokio::test]
async fn a_half_unpacked_bundle_names_all_that_it_lacks() {
    let scene = Scene::built().await;
    fs::remove_file(scene.path(FILES[1])).unwrap();
    scene.put(FILES[2], &rootfs()[..2048]);
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: the bundle `[DIR]/bundle` is half unpacked: `initrd-1` is missing, `rootfs-1.ext4` has 2048 of 4096 bytes
    hint: build a bundle with `banger bundle build`
    ");
    // The same is said before a VM is made.
    let status = scene.server.get("/v1/bundle").await.json();
    let causes = status["problem"]["causes"][0].as_str().unwrap();
    assert!(causes.contains("half unpacked"), "{causes}");
}

#[tokio::test]
async fn a_changed_file_shows_both_checksums() {
    let scene = Scene::built().await;
    let mut changed = rootfs();
    changed[0] = 1;
    scene.put(FILES[2], &changed);
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: `[DIR]/bundle/rootfs-1.ext4` has changed: its SHA-256 is de1c857cddf412d8d76dcc128b86c74483d1cf6441b2ed52f4bbf166d8d11a95, and was ce3d0140f927aeac4c98aaddab4fa81ef2c8da1b55039a05f252db181c5e598b
    hint: build a bundle with `banger bundle build`
    ");
}

#[tokio::test]
async fn a_dangling_path_is_told_with_who_names_it() {
    let scene = Scene::built().await;
    scene.manifest(&json!({
        "version": 2, "name": "default", "kernel": "vmlinux-2", "initrd": "initrd-1",
        "rootfs": "rootfs-1.ext4",
    }));
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: the kernel `[DIR]/bundle/vmlinux-2`, which `bundle.json` names, does not exist
    hint: unpack its archive with `banger bundle fetch --from ARCHIVE`
    hint: or build a bundle with `banger bundle build`
    ");
}

#[tokio::test]
async fn several_faults_are_told_at_once() {
    let scene = Scene::built().await;
    scene.put(FILES[0], &[0; 64]);
    scene.put(FILES[1], &[0; 10_000]);
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: the bundle `[DIR]/bundle` has 3 faults
    caused by: the bundle `[DIR]/bundle` cannot be booted from: `[DIR]/bundle/vmlinux-1` is no kernel that can be booted: it is neither an ELF file nor a bzImage
    caused by: `[DIR]/bundle/initrd-1` has 10000 bytes, and had 129 when it was recorded
    caused by: `[DIR]/bundle/vmlinux-1` has changed: its SHA-256 is f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b, and was 03c9124502d324f4b404e9142e7bc955fb64554b267be3ff67698a9e782c4989
    hint: build a bundle with `banger bundle build`
    ");
}

#[tokio::test]
async fn a_bundle_of_a_later_banger_is_told_by_its_version() {
    let scene = Scene::new().await;
    scene.manifest(&json!({ "version": 3, "kernels": [] }));
    insta::assert_snapshot!(scene.verify().await, @r"
    bundle_unusable: the runtime bundle is not as it should be
    caused by: `[DIR]/bundle/bundle.json` has version 3; this banger reads versions 1 to 2
    hint: install the banger that wrote it
    hint: or build a bundle with `banger bundle build`
    ");
}

/// An archive of a legacy layout.
fn archive(at: &Path) -> String {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in
        ["vmlinux", "initrd", "rootfs.ext4"].into_iter().zip([kernel(), initrd(), rootfs()])
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    fs::write(at, &bytes).unwrap();
    sha256(&bytes)
}

#[tokio::test]
async fn an_archive_is_fetched_by_its_path_and_by_what_a_file_pins() {
    let scene = Scene::new().await;
    let path = scene.dir.path().join("b.tar");
    let sum = archive(&path);
    let by_path = json!({ "from": path, "sha256": sum });
    insta::assert_snapshot!(scene.fetch(&by_path).await, @r"
    done, changed: true
    note: the archive is [DIR]/b.tar
    ");
    assert!(scene.verify().await.starts_with("done"));
    // The one beside the configuration file, then one that is named.
    let beside = scene.server.dir.path().join("runtime-bundle.toml");
    let relative = format!("path = \"{}\"\nsha256 = \"{sum}\"\n", path.display());
    fs::write(&beside, &relative).unwrap();
    insta::assert_snapshot!(scene.fetch(&json!({})).await, @r"
    done, changed: false
    note: the archive is [DIR]/b.tar
    ");
    let pin = scene.dir.path().join("runtime-bundle.toml");
    fs::write(&pin, "path = \"b.tar\"\n").unwrap();
    assert!(scene.fetch(&json!({ "pin": pin })).await.starts_with("done"));
}

#[tokio::test]
async fn what_cannot_be_fetched_is_told_with_its_remedy() {
    let scene = Scene::new().await;
    let path = scene.dir.path().join("b.tar");
    archive(&path);
    let template = scene.dir.path().join("template.toml");
    fs::write(&template, "url = \"\"\nsha256 = \"\"\n").unwrap();
    let mut all = String::new();
    for body in [
        json!({}),
        json!({ "pin": template }),
        json!({ "from": "https://example.org/b.tar" }),
        json!({ "from": "b.tar" }),
        json!({ "from": path, "sha256": "abc" }),
        json!({ "from": path, "pin": template }),
        json!({ "from": scene.dir.path().join("gone.tar") }),
        json!({ "from": path, "sha256": "0".repeat(64) }),
    ] {
        writeln!(all, "{}", scene.fetch(&body).await).unwrap();
    }
    let server = scene.server.dir.path().to_str().unwrap();
    insta::assert_snapshot!(all.replace(server, "[SERVER]"), @r"
    bundle_unusable: no archive is named: there is no `[SERVER]/runtime-bundle.toml`
    hint: name the archive with `banger bundle fetch --from ARCHIVE --sha256 SUM`
    hint: or build a bundle with `banger bundle build`

    bundle_unusable: `[DIR]/template.toml` is an empty template: it names no archive
    hint: fill in `url` or `path`, and `sha256`; then `banger bundle fetch`
    hint: or build a bundle with `banger bundle build`

    invalid_request: could not fetch the runtime bundle
    caused by: `https://example.org/b.tar` is fetched only with its SHA-256 checksum
    hint: give it with `--sha256`, or as `sha256` in `runtime-bundle.toml`; `sha256sum` tells it

    invalid_request: `b.tar` is neither a URL nor an absolute path

    invalid_request: `abc` is no SHA-256 checksum, which has 64 hexadecimal digits

    invalid_request: a fetch is of `from`, with its `sha256`, or of what `pin` names

    bundle_unusable: could not fetch the runtime bundle
    caused by: cannot read the archive `[DIR]/gone.tar`
    caused by: No such file or directory (os error 2)
    hint: check the path, and that the daemon's user can read the file

    bundle_unusable: could not fetch the runtime bundle
    caused by: the archive `[DIR]/b.tar` has the SHA-256 8870a3bce75142a9e360c6dbd721a7c16db2859283059fec6629209bc9ea3d57, and should have 0000000000000000000000000000000000000000000000000000000000000000
    hint: fetch it again; if it has the same checksum then, it is another archive than the one that was pinned: use it only if you know why
    ");
}
