//! Honest archives: everything that a root file system has comes out as it went in.

use super::super::budget::Limits;
use super::super::unpack::Names;
use super::archive::Archive;
use super::{Place, names_in};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use tar::EntryType;

fn text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.tree().join(name)).unwrap()
}

#[test]
fn a_later_layer_wins_and_a_whiteout_hides() {
    let place = Place::new();
    let lower = Archive::new()
        .file("etc/issue", b"old")
        .file("etc/motd", b"hidden")
        .file("opt/a/b/c", b"hidden with its directory")
        .file("var/log/x", b"hidden by what is opaque")
        .file("var/log/deep/y", b"the same");
    let upper = Archive::new()
        .file("etc/issue", b"new")
        .file("etc/.wh.motd", b"")
        .file(".wh.opt", b"")
        .file("var/log/.wh..wh..opq", b"")
        .file("var/log/z", b"its own")
        .file("nowhere/.wh.gone", b"");
    place.unpack(&[lower.finish(), upper.finish()]).unwrap();
    assert_eq!(text(&place, "etc/issue"), "new");
    assert_eq!(names_in(&place.tree()), ["etc", "var"]);
    assert_eq!(names_in(&place.tree().join("etc")), ["issue"]);
    assert_eq!(names_in(&place.tree().join("var/log")), ["z"]);
}

/// A whiteout is about the layers below, wherever in its own layer it stands.
#[test]
fn a_whiteout_spares_what_its_own_layer_has() {
    let lower = Archive::new().file("a/old", b"").file("a/sub/old", b"").file("b", b"old").finish();
    let own = |it: Archive| it.file("a/new", b"").file("a/sub/new", b"").file("b", b"new");
    let marks = |it: Archive| it.file("a/.wh..wh..opq", b"").file(".wh.b", b"").file(".wh.a", b"");
    for upper in [marks(own(Archive::new())), own(marks(Archive::new()))] {
        let place = Place::new();
        place.unpack(&[lower.clone(), upper.finish()]).unwrap();
        assert_eq!(names_in(&place.tree().join("a")), ["new", "sub"]);
        assert_eq!(names_in(&place.tree().join("a/sub")), ["new"]);
        assert_eq!(text(&place, "b"), "new");
    }
}

#[test]
fn a_whiteout_in_the_lowest_layer_hides_nothing() {
    let place = Place::new();
    let only = Archive::new().file("a", b"").file(".wh.a", b"").file(".wh..wh..opq", b"");
    place.unpack(&[only.finish()]).unwrap();
    assert_eq!(names_in(&place.tree()), ["a"]);
}

#[test]
fn in_a_plain_archive_every_name_is_a_file() {
    let place = Place::new();
    let archive = Archive::new().file("a", b"").file(".wh.a", b"mine").finish();
    place.unpack_with(&[archive], Names::Plain, Limits::default()).unwrap();
    assert_eq!(names_in(&place.tree()), [".wh.a", "a"]);
}

#[test]
fn something_of_another_kind_replaces_what_was_there() {
    let place = Place::new();
    let lower = Archive::new().file("a/b/c", b"").file("f", b"").symlink("l", "a").directory("d");
    let upper = Archive::new().file("a", b"file").file("f/g", b"").directory("l").symlink("d", "a");
    // A file is no directory by implication.
    let outcome = place.unpack(&[lower.finish(), upper.finish()]);
    assert!(outcome.is_err());
    assert!(place.tree().join("a").is_file());
    let place = Place::new();
    let lower = Archive::new().file("f", b"").symlink("l", "a").file("d/x/y", b"").finish();
    let upper = Archive::new().directory("f").file("f/g", b"").directory("l").symlink("d", "a");
    place.unpack(&[lower, upper.finish()]).unwrap();
    assert!(place.tree().join("f/g").is_file() && place.tree().join("d").is_symlink());
    assert!(place.tree().join("l").symlink_metadata().unwrap().is_dir());
}

#[test]
fn a_directory_that_comes_again_keeps_its_content() {
    let place = Place::new();
    let lower = Archive::new().file("d/x", b"").finish();
    let private = |header: &mut tar::Header| header.set_mode(0o1700);
    let upper = Archive::new().entry(EntryType::Directory, b"d/", private, b"").finish();
    place.unpack(&[lower, upper]).unwrap();
    let dir = place.tree().join("d").metadata().unwrap();
    assert_eq!(dir.permissions().mode() & 0o7777, 0o1700);
    assert!(place.tree().join("d/x").exists());
}

#[test]
fn links_inside_of_the_tree_are_followed() {
    let place = Place::new();
    let archive = Archive::new()
        .directory("usr/lib")
        .symlink("lib", "usr/lib")
        .file("lib/x", b"through the link")
        .hard_link("lib/y", "usr/lib/x")
        .hard_link("usr/lib/z", "lib/y");
    place.unpack(&[archive.finish()]).unwrap();
    assert_eq!(text(&place, "usr/lib/z"), "through the link");
    assert_eq!(place.tree().join("usr/lib/x").metadata().unwrap().nlink(), 3);
    assert_eq!(fs::read_link(place.tree().join("lib")).unwrap().to_str(), Some("usr/lib"));
}

#[test]
fn a_hard_link_to_itself_loses_nothing() {
    let place = Place::new();
    let archive = Archive::new().file("a", b"kept").hard_link("a", "./a").hard_link("b", "a");
    place.unpack(&[archive.hard_link("b", "a").finish()]).unwrap();
    assert_eq!((text(&place, "a"), text(&place, "b")), ("kept".into(), "kept".into()));
}

#[test]
fn modes_and_times_are_those_of_the_archive() {
    let place = Place::new();
    let setuid = |header: &mut tar::Header| header.set_mode(0o4755);
    let archive = Archive::new()
        .directory("d")
        .file_with("d/su", setuid)
        .records([("mtime", &b"-12.25"[..])])
        .file("d/old", b"")
        .symlink("d/link", "old")
        .entry(EntryType::Fifo, b"d/pipe", |header| header.set_mode(0o622), b"");
    place.unpack(&[archive.finish()]).unwrap();
    let found = |name: &str| place.tree().join(name).symlink_metadata().unwrap();
    assert_eq!(found("d/su").permissions().mode() & 0o7777, 0o4755);
    assert_eq!((found("d/old").mtime(), found("d/old").mtime_nsec()), (-13, 750_000_000));
    assert!(found("d/pipe").file_type().is_fifo());
    assert_eq!(found("d/pipe").permissions().mode() & 0o777, 0o622);
    // What is made in it later does not change a directory's time.
    for name in ["d", "d/su", "d/link", "d/pipe"] {
        assert_eq!(found(name).mtime(), 1_000_000_000, "{name}");
    }
}

#[test]
fn names_of_any_length_and_any_byte_come_out() {
    let place = Place::new();
    let long = format!("{}/{}", "p".repeat(200), "n".repeat(250));
    let archive = Archive::new()
        .file(&long, b"long")
        .entry(EntryType::GNULongName, b"././@LongLink", |_| {}, format!("{long}2\0").as_bytes())
        .file("short", b"longer")
        .entry(EntryType::Regular, b"caf\xe9", |_| {}, b"latin")
        .records([("linkpath", long.as_bytes())])
        .symlink("link", "short");
    place.unpack(&[archive.finish()]).unwrap();
    assert_eq!(text(&place, &long), "long");
    assert_eq!(text(&place, &format!("{long}2")), "longer");
    assert_eq!(fs::read_link(place.tree().join("link")).unwrap().to_str(), Some(&*long));
    use std::os::unix::ffi::OsStrExt;
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9");
    assert_eq!(fs::read(place.tree().join(latin)).unwrap(), b"latin");
}

#[test]
fn attributes_of_users_are_kept_and_labels_are_not() {
    let place = Place::new();
    let archive = Archive::new()
        .records([
            ("SCHILY.xattr.user.note", &b"a\nb=c"[..]),
            ("SCHILY.xattr.security.selinux", b"label"),
        ])
        .file("a", b"");
    let left_out = place.unpack(&[archive.finish()]).unwrap();
    assert_eq!(left_out.attributes, 1);
    let mut value = [0; 16];
    let file = place.tree().join("a");
    let length = rustix::fs::getxattr(&file, "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"a\nb=c");
}

/// 2 MiB with a few bytes in the middle, in each of the ways that GNU tar writes it.
#[test]
fn sparse_files_keep_their_holes() {
    const SIZE: u64 = 2 << 20;
    let map = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")];
    let named =
        |name: &'static [u8]| [("GNU.sparse.name", name), ("GNU.sparse.realsize", b"2097152")];
    let mut content = b"1\n1048576\n5\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"otter");
    let archive = Archive::new()
        .records(map.into_iter().chain(named(b"later")))
        .file("GNUSparseFile.0/later", &content)
        .records([
            ("GNU.sparse.map", &b"1048576,5"[..]),
            ("GNU.sparse.size", b"2097152"),
            ("GNU.sparse.name", b"earlier"),
        ])
        .file("GNUSparseFile.0/earlier", b"otter")
        .entry(
            EntryType::GNUSparse,
            b"own",
            |header| {
                let gnu = header.as_gnu_mut().unwrap();
                gnu.set_real_size(SIZE);
                gnu.sparse[0].set_offset(1 << 20);
                gnu.sparse[0].set_length(5);
            },
            b"otter",
        );
    let place = Place::new();
    place.unpack(&[archive.finish()]).unwrap();
    for name in ["later", "earlier", "own"] {
        let bytes = fs::read(place.tree().join(name)).unwrap();
        assert_eq!(bytes.len() as u64, SIZE, "{name}");
        assert_eq!(&bytes[1 << 20..(1 << 20) + 5], b"otter", "{name}");
        assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 5, "{name}");
        let blocks = place.tree().join(name).metadata().unwrap().blocks();
        assert!(blocks * 512 < SIZE / 4, "{name}: {blocks}");
    }
    assert_eq!(names_in(&place.tree()), ["earlier", "later", "own"]);
}

#[test]
fn the_tar_program_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("in");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/a"), vec![7; 100_000]).unwrap();
    fs::hard_link(tree.join("sub/a"), tree.join("sub/b")).unwrap();
    std::os::unix::fs::symlink("a", tree.join("sub/c")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"otter", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        let archive = dir.path().join(format);
        let sparse = if matches!(format, "gnu" | "pax") { "--sparse" } else { "--verbose" };
        banger_host::cmd::Cmd::new("tar")
            .args(["--create", sparse, &format!("--format={format}"), "--file"])
            .arg(&archive)
            .arg("-C")
            .args([&tree])
            .arg(".")
            .run()
            .unwrap();
        let place = Place::new();
        place.unpack(&[fs::read(&archive).unwrap()]).unwrap();
        assert_eq!(fs::read(place.tree().join("sub/b")).unwrap(), vec![7; 100_000], "{format}");
        assert_eq!(place.tree().join("sub/a").metadata().unwrap().nlink(), 2, "{format}");
        let bytes = fs::read(place.tree().join("sparse")).unwrap();
        assert_eq!((bytes.len(), &bytes[1 << 20..(1 << 20) + 5]), (3 << 20, &b"otter"[..]));
    }
}
