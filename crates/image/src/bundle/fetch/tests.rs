//! Archives of every kind, good and bad, from files and from a server of the test's own.

mod server;

use super::*;
use crate::bundle::{VerifyError, verify};
use crate::compression::Format;
use crate::compression::tests::pack;
use crate::kernel::tests::elf;
use banger_core::error::{ErrorCode, Explain, chain};
use server::{Answer, Server};
use std::os::unix::fs::MetadataExt;
use tar::{Builder, EntryType, Header};

const NOW: &str = "2026-01-02T03:04:05Z";
const MANIFEST: &str = r#"{"version": 1, "name": "debian-12", "kernel": "vmlinux-1",
    "initrd": "initrd-1", "rootfs": "rootfs-1.ext4", "boot_args": ["net.ifnames=0"]}"#;

fn ext4() -> Vec<u8> {
    let mut ext4 = vec![0; 1 << 20];
    ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    ext4
}

fn initrd() -> Vec<u8> {
    let mut archive = crate::newc::Archive::new();
    archive.file("/banger/modules", 0o644, b"a.ko\n").unwrap();
    archive.file("/banger/modules.d/a.ko", 0o644, b"A").unwrap();
    archive.finish()
}

/// The entries of an archive: name and content.
type Entries = Vec<(String, Vec<u8>)>;

fn entries(prefix: &str) -> Entries {
    [
        ("bundle.json", MANIFEST.as_bytes().to_vec()),
        ("vmlinux-1", elf()),
        ("initrd-1", initrd()),
        ("rootfs-1.ext4", ext4()),
    ]
    .map(|(name, content)| (format!("{prefix}{name}"), content))
    .to_vec()
}

/// An archive of these entries and whatever `more` adds.
fn tar(entries: &Entries, more: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o600);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    more(&mut builder);
    builder.into_inner().unwrap()
}

fn good() -> Vec<u8> {
    tar(&entries(""), |_| {})
}

/// A header with a name that the crate itself would refuse to write.
fn odd(name: &str, kind: EntryType, link: &str) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o644);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    header
}

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    fn archive(&self, bytes: &[u8]) -> Place {
        let path = self.dir.path().join("archive");
        fs::write(&path, bytes).unwrap();
        Place::File(path)
    }

    fn fetch(&self, from: &Place, sha256: Option<Checksum>) -> Result<Fetched, FetchError> {
        let (dir, cancel) = (self.bundle(), AtomicBool::new(false));
        let request = FetchRequest { dir: &dir, from, sha256, now: NOW, cancel: &cancel };
        fetch(&request, &|_| {})
    }

    fn take(&self, bytes: &[u8]) -> Result<Fetched, FetchError> {
        self.fetch(&self.archive(bytes), None)
    }

    /// The error with all its causes, and without what changes from run to run.
    fn refusal(&self, bytes: &[u8]) -> String {
        let error = self.take(bytes).unwrap_err();
        assert!(!self.bundle().join(MANIFEST_FILE).exists());
        chain(&error).replace(self.dir.path().to_str().unwrap(), "[DIR]")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.bundle()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn sum(bytes: &[u8]) -> Checksum {
    let mut summing = crate::checksum::Summing::default();
    summing.add(bytes);
    summing.finish()
}

#[test]
fn an_archive_of_each_compression_becomes_a_bundle() {
    let plain = good();
    let mut frames = pack(Format::Zstd, &plain[..4096]);
    // The encoder of the tests appends the size, as the kernel's build does.
    frames.truncate(frames.len() - 4);
    let mut rest = pack(Format::Zstd, &plain[4096..]);
    rest.truncate(rest.len() - 4);
    frames.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7]);
    frames.extend(rest);
    let mut xz = pack(Format::Xz, &plain);
    xz.truncate(xz.len() - 4);
    for archive in [plain.clone(), pack(Format::Gzip, &plain), xz, frames] {
        let scene = Scene::new();
        let fetched = scene.fetch(&scene.archive(&archive), Some(sum(&archive))).unwrap();
        let image = fetched.bundle.image();
        assert_eq!(image.name.as_str(), "debian-12");
        assert_eq!(fs::read(&image.kernel).unwrap(), elf());
        assert!(fetched.changed && fs::read(image.rootfs).unwrap() == ext4());
        let source = BundleSource::at(scene.bundle());
        let verified = verify(&source, &AtomicBool::new(false), &|_| {}).unwrap();
        assert_eq!((verified.as_recorded, verified.unrecorded.len()), (3, 0));
    }
}

#[test]
fn the_manifest_says_where_the_bundle_came_from() {
    let scene = Scene::new();
    let archive = good();
    scene.take(&archive).unwrap();
    let text = fs::read_to_string(scene.bundle().join(MANIFEST_FILE)).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let name = format!("fetched-{}", sum(&archive).short());
    assert_eq!(manifest["version"], 2);
    assert_eq!(manifest["kernel"], format!("{name}/vmlinux-1"));
    let provenance = &manifest["provenance"];
    assert_eq!(provenance["archive"]["sha256"], sum(&archive).to_string());
    assert_eq!(provenance["archive"]["fetched"], NOW);
    let rootfs = &provenance["files"][format!("{name}/rootfs-1.ext4")];
    assert_eq!(rootfs["sha256"], sum(&ext4()).to_string());
}

#[test]
fn a_directory_around_the_bundle_and_a_legacy_layout_are_taken() {
    for (archive, name) in [
        (tar(&entries("./debian/"), |_| {}), "debian-12"),
        (
            tar(
                &vec![
                    ("vmlinux".to_owned(), elf()),
                    ("initrd".to_owned(), initrd()),
                    ("rootfs.ext4".to_owned(), ext4()),
                ],
                |_| {},
            ),
            "default",
        ),
    ] {
        let scene = Scene::new();
        assert_eq!(scene.take(&archive).unwrap().bundle.manifest().name.as_str(), name);
        // What had no record has one now.
        let source = BundleSource::at(scene.bundle());
        assert_eq!(verify(&source, &AtomicBool::new(false), &|_| {}).unwrap().as_recorded, 3);
    }
}

#[test]
fn another_archive_than_was_pinned_changes_nothing_and_both_checksums_are_told() {
    let scene = Scene::new();
    scene.take(&good()).unwrap();
    let before = (scene.names(), fs::read(scene.bundle().join(MANIFEST_FILE)).unwrap());
    // Also where what came is no archive at all.
    for other in [tar(&entries("x/"), |_| {}), b"<html>".to_vec()] {
        let wanted = sum(b"pinned");
        let error = scene.fetch(&scene.archive(&other), Some(wanted)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&wanted.to_string()), "{message}");
        assert!(message.contains(&sum(&other).to_string()), "{message}");
        assert_eq!(error.code(), ErrorCode::BundleUnusable);
        let after = (scene.names(), fs::read(scene.bundle().join(MANIFEST_FILE)).unwrap());
        assert_eq!(after, before);
    }
}

#[test]
fn the_same_archive_again_changes_nothing_and_mends_what_is_damaged() {
    let scene = Scene::new();
    let archive = good();
    let first = scene.take(&archive).unwrap().bundle;
    let inode = |bundle: &Bundle| fs::metadata(bundle.image().rootfs).unwrap().ino();
    let again = scene.take(&archive).unwrap();
    assert!(!again.changed);
    assert_eq!(inode(&again.bundle), inode(&first));

    fs::write(first.image().kernel, [elf(), vec![1]].concat()).unwrap();
    fs::remove_file(first.image().initrd.unwrap()).unwrap();
    let source = BundleSource::at(scene.bundle());
    let error = verify(&source, &AtomicBool::new(false), &|_| {}).unwrap_err();
    assert!(matches!(&error, VerifyError::Faults { faults, .. } if faults.len() == 2), "{error}");
    let hint = format!("--sha256 {}`", sum(&archive));
    assert!(error.hints()[0].ends_with(&hint), "{:?}", error.hints());
    assert!(scene.take(&archive).unwrap().changed);
    verify(&source, &AtomicBool::new(false), &|_| {}).unwrap();
}

#[test]
fn the_files_of_an_earlier_bundle_stay() {
    let scene = Scene::new();
    fs::create_dir(scene.bundle()).unwrap();
    for (name, content) in entries("") {
        fs::write(scene.bundle().join(name), content).unwrap();
    }
    let first = scene.take(&good()).unwrap().bundle;
    let mut other = entries("");
    other[1].1.push(0);
    let second = scene.take(&tar(&other, |_| {})).unwrap().bundle;
    assert_ne!(second.image().rootfs, first.image().rootfs);
    assert!(first.image().rootfs.exists());
    for (name, _) in entries("") {
        assert!(scene.bundle().join(name).exists());
    }
    assert!(!scene.bundle().join(".build").exists());
}

#[test]
fn entries_that_do_not_belong_into_a_bundle_are_refused() {
    let with = |header: Header| tar(&entries(""), |tar| tar.append(&header, &[][..]).unwrap());
    let link = |name: &str, to: &str| odd(name, EntryType::Symlink, to);
    let behind = tar(&entries(""), |tar| {
        tar.append(&link("here", "."), &[][..]).unwrap();
        tar.append(&link("here/up/out", ".."), &[][..]).unwrap();
    });
    let lexical = tar(&entries(""), |tar| {
        tar.append(&link("here", "."), &[][..]).unwrap();
        tar.append(&link("out", "here/../.."), &[][..]).unwrap();
    });
    let mut twice = entries("");
    twice.push(twice[1].clone());
    let refusals: Vec<String> = [
        with(odd("../evil", EntryType::Regular, "")),
        with(odd("a/../../evil", EntryType::Directory, "")),
        with(odd("/etc/evil", EntryType::Regular, "")),
        with(link("out", "/etc/passwd")),
        with(link("out", "../../x")),
        with(link("gone", "nowhere")),
        behind,
        lexical,
        with(odd("same", EntryType::Link, "vmlinux-1")),
        with(odd("null", EntryType::Char, "")),
        with(odd("pipe", EntryType::Fifo, "")),
        with(odd("what", EntryType::new(b'?'), "")),
        tar(&twice, |_| {}),
    ]
    .iter()
    .map(|archive| {
        let scene = Scene::new();
        let refusal = scene.refusal(archive);
        assert_eq!(scene.names(), [".build.lock"], "{refusal}");
        // Nothing was written beside the bundle's directory.
        assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 2, "{refusal}");
        refusal.replace("cannot unpack the archive `[DIR]/archive`: ", "")
    })
    .collect();
    insta::assert_snapshot!(refusals.join("\n"), @r"
    its entry `../evil` leads out of the bundle
    its entry `a/../../evil` leads out of the bundle
    its entry `/etc/evil` has an absolute path
    its entry `out` is a link that leads out of the bundle
    its entry `out` is a link that leads nowhere
    its entry `gone` is a link that leads nowhere
    its entry `here/up/out` lies behind a link
    its entry `out` is a link that leads out of the bundle
    its entry `same` is a hard link, which a bundle does not need
    its entry `null` is a device or pipe, which a bundle has none of
    its entry `pipe` is a device or pipe, which a bundle has none of
    its entry `what` is of a kind that is not known
    its entry `vmlinux-1` is there twice
    ");
}

#[test]
fn an_archive_without_what_a_bundle_needs_is_refused() {
    let without = |name: &str| {
        let mut entries = entries("");
        entries.retain(|(entry, _)| entry != name);
        tar(&entries, |_| {})
    };
    let with = |name: &str, content: &[u8]| {
        let mut entries = entries("");
        entries.iter_mut().filter(|(entry, _)| entry == name).for_each(|entry| {
            entry.1 = content.to_vec();
        });
        tar(&entries, |_| {})
    };
    let mut lacking = crate::newc::Archive::new();
    lacking.file("/banger/modules", 0o644, b"a.ko\n").unwrap();
    let lying = MANIFEST.replace(
        "\"version\": 1",
        &format!(
            "\"version\": 2, \"provenance\": {{\"files\": {{\"vmlinux-1\": {{\"bytes\": {}, \
             \"sha256\": \"{}\"}}}}}}",
            elf().len(),
            sum(b"another")
        ),
    );
    let refusals: Vec<String> = [
        tar(&vec![], |_| {}),
        tar(&vec![("readme".to_owned(), vec![1])], |_| {}),
        without("vmlinux-1"),
        without("rootfs-1.ext4"),
        with("bundle.json", b""),
        with("bundle.json", MANIFEST.replace("\"version\": 1", "\"version\": 9").as_bytes()),
        with("bundle.json", MANIFEST.replace("initrd-1", "../initrd-1").as_bytes()),
        with("bundle.json", lying.as_bytes()),
        with("vmlinux-1", b"#!/bin/sh"),
        with("initrd-1", b"nothing"),
        with("initrd-1", &lacking.finish()),
        with("rootfs-1.ext4", &[0; 4096]),
    ]
    .iter()
    .map(|archive| {
        let refusal = Scene::new().refusal(archive).replace("[DIR]/bundle/.build/tree", "[TREE]");
        refusal.replace("what is in the archive is no bundle that can be used: ", "")
    })
    .collect();
    insta::assert_snapshot!(refusals.join("\n"), @r"
    `[TREE]` is no bundle: it has no `bundle.json`
    `[TREE]` is no bundle: it has no `bundle.json`
    the kernel `[TREE]/vmlinux-1`, which `bundle.json` names, does not exist
    the root file system `[TREE]/rootfs-1.ext4`, which `bundle.json` names, does not exist
    `[TREE]/bundle.json` is an empty template: it names no files
    `[TREE]/bundle.json` has version 9; this banger reads versions 1 to 2
    `[TREE]/bundle.json` is no manifest of a bundle: `../initrd-1` is no path inside of the bundle at line 2 column 27
    `[TREE]/vmlinux-1` has changed: its SHA-256 is 5ddf4dba3fe3f7ce1f8db60d39b5f9d7d86b9fa1b3408dbadee16b3208b37349, and was ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5
    the bundle `[TREE]` cannot be booted from: `[TREE]/vmlinux-1` is no kernel that can be booted: it is neither an ELF file nor a bzImage
    the bundle `[TREE]` cannot be booted from: `[TREE]/initrd-1` is no initrd that can be used: it is no cpio archive of the kind `newc`
    the bundle `[TREE]` cannot be booted from: `[TREE]/initrd-1` is no initrd that can be used: it lists the module `a.ko`, which it does not hold
    the bundle `[TREE]` cannot be booted from: `[TREE]/rootfs-1.ext4` is no ext4 file system
    ");
}

#[test]
fn an_archive_that_is_broken_or_far_too_large_is_refused() {
    let mut huge = odd("huge", EntryType::Regular, "");
    huge.set_size(65 << 30);
    huge.set_cksum();
    let huge = tar(&entries(""), |tar| tar.append(&huge, &[][..]).unwrap());
    let gzip = pack(Format::Gzip, &good());
    let cut = good()[..4000].to_vec();
    let bomb = pack(Format::Gzip, &vec![0; 4 << 20]);
    let refusals: Vec<String> = [
        huge,
        cut,
        gzip[..gzip.len() / 2].to_vec(),
        b"BZh91AY".to_vec(),
        b"neither one nor the other".repeat(100),
        bomb,
    ]
    .iter()
    .map(|archive| {
        let refusal = Scene::new().refusal(archive).replace("[DIR]/bundle/.build/tree", "[TREE]");
        refusal.replace("cannot unpack the archive `[DIR]/archive`: ", "")
    })
    .collect();
    insta::assert_snapshot!(refusals.join("\n"), @r"
    it unpacks to more than 64 GiB
    it cannot be read: it ends in the middle of a file
    it cannot be read: it ends in the middle of a file
    it cannot be read: bzip2 compression is not supported; gzip, XZ, Zstandard and LZ4 are
    it is no tar archive
    what is in the archive is no bundle that can be used: `[TREE]` is no bundle: it has no `bundle.json`
    ");
}

#[test]
fn zeros_become_holes() {
    let scene = Scene::new();
    let mut entries = entries("");
    entries[3].1.resize(64 << 20, 0);
    let image = scene.take(&pack(Format::Gzip, &tar(&entries, |_| {}))).unwrap().bundle.image();
    let meta = fs::metadata(image.rootfs).unwrap();
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn holes_are_taken_in_the_posix_way_too() {
    let scene = Scene::new();
    let mut entries = entries("");
    let (name, whole) = entries.pop().unwrap();
    let archive = tar(&entries, |tar| {
        let records = [("major", "1"), ("minor", "0"), ("name", &name), ("realsize", "1048576")];
        let records = records.map(|(key, value)| (format!("GNU.sparse.{key}"), value));
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()));
        tar.append_pax_extensions(records).unwrap();
        // One region, and behind its description what is in it.
        let mut content = b"1\n0\n4096\n".to_vec();
        content.resize(512, 0);
        content.extend_from_slice(&whole[..4096]);
        let mut header = Header::new_ustar();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o600);
        tar.append_data(&mut header, "GNUSparseFile.0/rootfs", content.as_slice()).unwrap();
    });
    let image = scene.take(&archive).unwrap().bundle.image();
    assert_eq!(fs::read(&image.rootfs).unwrap(), whole);
    assert!(fs::metadata(image.rootfs).unwrap().blocks() * 512 < 1 << 18);
    // The checksum is that of the whole file.
    let source = BundleSource::at(scene.bundle());
    assert_eq!(verify(&source, &AtomicBool::new(false), &|_| {}).unwrap().as_recorded, 3);
}

#[test]
fn a_fetch_can_be_ended_early_and_leaves_nothing() {
    let scene = Scene::new();
    let (dir, cancel) = (scene.bundle(), AtomicBool::new(false));
    let from = scene.archive(&good());
    let request = FetchRequest { dir: &dir, from: &from, sha256: None, now: NOW, cancel: &cancel };
    let end = |_| cancel.store(true, Ordering::Relaxed);
    let error = fetch(&request, &end).unwrap_err();
    assert!(matches!(error, FetchError::Cancelled), "{error}");
    assert_eq!(scene.names(), [".build.lock"]);
}

/// What comes of fetching from a server.
fn from_server(answers: &[(&'static str, Answer)], path: &str) -> Result<Fetched, String> {
    let server = Server::start(answers);
    let scene = Scene::new();
    let place = server.url(path).parse().unwrap();
    let told = |error: FetchError| {
        let hints = error.hints().join(" | ");
        let text = format!("{}: {}\n  hint: {hints}", error.code(), chain(&error));
        text.replace(&server.port(), "[PORT]")
    };
    let fetched = scene.fetch(&place, Some(sum(&good()))).map_err(told);
    // The bundle goes with its scene.
    drop(scene);
    fetched
}

#[test]
fn a_server_sends_an_archive_also_by_way_of_another_path() {
    for (path, sized) in [("/b.tar", true), ("/b.tar", false)] {
        let fetched = from_server(&[("/b.tar", Answer::Bytes(good(), sized))], path).unwrap();
        let archive = fetched.bundle.manifest().provenance.clone().unwrap().archive.unwrap();
        assert!(archive.from.starts_with("http://127.0.0.1:") && archive.from.ends_with(path));
    }
    let answers = [
        ("/a", Answer::Redirect("/b/c")),
        ("/b/c", Answer::Redirect("d.tar?x=1")),
        ("/b/d.tar?x=1", Answer::Bytes(good(), true)),
    ];
    assert!(from_server(&answers, "/a").is_ok());
}

#[test]
fn what_a_server_does_wrong_is_told() {
    let all: Vec<String> = [
        vec![],
        vec![("/b.tar", Answer::Redirect("/b.tar"))],
        vec![("/b.tar", Answer::Redirect("http://192.0.2.1/b.tar"))],
        vec![("/b.tar", Answer::Redirect("file:///etc/shadow"))],
        vec![("/b.tar", Answer::Short(good()))],
        vec![("/b.tar", Answer::Nonsense)],
        vec![("/b.tar", Answer::Bytes(b"<html>".to_vec(), true))],
    ]
    .iter()
    .map(|answers| from_server(answers, "/b.tar").unwrap_err())
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r"
    bundle_unusable: `http://127.0.0.1:[PORT]/b.tar` is answered with 404 Not Found
      hint: check the URL
    bundle_unusable: more than 5 redirects, the last one to `http://127.0.0.1:[PORT]/b.tar`
      hint: check the URL
    bundle_unusable: `http://127.0.0.1:[PORT]/b.tar` redirects to where no archive comes from: `http://192.0.2.1/b.tar` is not asked: an archive comes by `https`, or by `http` from this machine itself
      hint: check the URL
    bundle_unusable: `http://127.0.0.1:[PORT]/b.tar` is answered with 302 Found without a usable `Location`
      hint: check the URL
    bundle_unusable: `127.0.0.1` cannot be reached, or broke off: Peer disconnected
      hint: check the network, and the proxy in `https_proxy` if there is one; or fetch the archive by other means and give its path with `--from`
    bundle_unusable: the answer to `http://127.0.0.1:[PORT]/b.tar` is not understood: protocol: http parse fail: invalid response status
      hint: 
    bundle_unusable: the archive `http://127.0.0.1:[PORT]/b.tar` has the SHA-256 b7d082ee12e91b756ea22e8513b8594eebcf5d39fab813da3cb55794dc888ad7, and should have a28ebf07dbe1bd5b99c2f7601608f3ae2dd4877bbbd5324d95f87859e6d2a118
      hint: fetch it again; if it has the same checksum then, it is another archive than the one that was pinned: use it only if you know why
    ");
}

#[test]
fn a_server_without_tls_and_none_at_all_are_told_apart() {
    let server = Server::start(&[]);
    let scene = Scene::new();
    let said = |url: String| {
        let place = url.parse().unwrap();
        let error = scene.fetch(&place, Some(sum(b""))).unwrap_err();
        chain(&error)
    };
    let tls = said(server.url("/b.tar").replace("http://", "https://"));
    assert!(tls.starts_with("`127.0.0.1` is not who it should be, or speaks no TLS: "), "{tls}");
    let url = server.url("/b.tar");
    drop(server);
    let gone = said(url);
    assert!(gone.starts_with("`127.0.0.1` cannot be reached, or broke off: "), "{gone}");
}

#[test]
fn a_url_without_a_checksum_is_not_asked() {
    let server = Server::start(&[("/b.tar", Answer::Bytes(good(), true))]);
    let scene = Scene::new();
    let error = scene.fetch(&server.url("/b.tar").parse().unwrap(), None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    assert!(error.to_string().contains("only with its SHA-256"), "{error}");
    assert_eq!(server.asked(), 0);
}
