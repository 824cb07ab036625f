//! Archives that are made to do harm. Each is refused for a reason of its own, and nothing is written
//! outside of the tree.

use super::super::budget::{Budget, Limits};
use super::super::error::{EntryError, ImportError, TarError};
use super::super::unpack::Names;
use super::Place;
use super::archive::Archive;
use banger_core::unit::Bytes;
use tar::EntryType;

/// Unpacks, expects that an entry is refused, and looks at what must stay as it is.
fn refused(place: &Place, archive: Archive) -> EntryError {
    let outcome = place.unpack(&[archive.finish()]);
    place.assert_outside_untouched();
    match outcome.unwrap_err() {
        ImportError::Entry { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_that_climbs_is_refused() {
    for name in ["../outside/victim", "a/../../outside/victim", "/../outside/victim", ".."] {
        let error = refused(&Place::new(), Archive::new().file(name, b"owned"));
        assert!(matches!(error, EntryError::Climbs), "{name}: {error:?}");
    }
    let deep = format!("{}victim", "../".repeat(60));
    let error = refused(&Place::new(), Archive::new().file(&deep, b"owned"));
    assert!(matches!(error, EntryError::Climbs));
}

#[test]
fn an_absolute_name_is_refused() {
    let place = Place::new();
    let victim = place.outside().join("victim");
    let error = refused(&place, Archive::new().file(victim.to_str().unwrap(), b"owned"));
    assert!(matches!(error, EntryError::Absolute));
}

#[test]
fn a_name_in_an_extended_header_is_checked_too() {
    let archive = Archive::new().records([("path", &b"../outside/victim"[..])]);
    let error = refused(&Place::new(), archive.file("harmless", b"owned"));
    assert!(matches!(error, EntryError::Climbs));
    let archive = Archive::new().entry(
        EntryType::GNULongName,
        b"././@LongLink",
        |_| {},
        b"../outside/victim\0",
    );
    let error = refused(&Place::new(), archive.file("harmless", b"owned"));
    assert!(matches!(error, EntryError::Climbs));
}

#[test]
fn nothing_is_written_through_a_link_that_leads_out() {
    for target in ["../outside", "..", "/", "/tmp", "./../outside", "a/../../outside"] {
        for entry in ["link/victim", "link/new/deep/file"] {
            let place = Place::new();
            let archive = Archive::new().directory("a").symlink("link", target);
            let error = refused(&place, archive.file(entry, b"owned"));
            assert!(matches!(error, EntryError::ThroughLink), "{target} {entry}: {error:?}");
        }
    }
    let place = Place::new();
    let outside = place.outside();
    let archive = Archive::new().symlink("link", outside.to_str().unwrap());
    let error = refused(&place, archive.file("link/victim", b"owned"));
    assert!(matches!(error, EntryError::ThroughLink));
}

#[test]
fn nothing_is_written_through_a_chain_of_links() {
    let archive = Archive::new()
        .directory("a")
        .symlink("a/b", "../c")
        .symlink("c", "d")
        .symlink("d", "../outside")
        .file("a/b/victim", b"owned");
    assert!(matches!(refused(&Place::new(), archive), EntryError::ThroughLink));
    let circle = Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", b"");
    assert!(matches!(refused(&Place::new(), circle), EntryError::ThroughLink));
}

#[test]
fn a_link_that_leads_out_is_replaced_and_not_followed() {
    let place = Place::new();
    let victim = place.outside().join("victim");
    let archive = Archive::new()
        .symlink("a", victim.to_str().unwrap())
        .file("a", b"new")
        .symlink("b", "../outside")
        .directory("b")
        .file("b/victim", b"new");
    place.unpack(&[archive.finish()]).unwrap();
    place.assert_outside_untouched();
    assert_eq!(std::fs::read(place.tree().join("a")).unwrap(), b"new");
    assert_eq!(std::fs::read(place.tree().join("b/victim")).unwrap(), b"new");
}

#[test]
fn a_hard_link_out_of_the_tree_is_refused() {
    let place = Place::new();
    let victim = place.outside().join("victim");
    for target in ["../outside/victim", victim.to_str().unwrap(), "/etc/passwd", "a/../../x", "/"] {
        let error = refused(&Place::new(), Archive::new().hard_link("x", target));
        assert!(matches!(error, EntryError::LinkOutside { .. }), "{target}: {error:?}");
    }
    let through = Archive::new().symlink("out", "../outside").hard_link("x", "out/victim");
    assert!(matches!(refused(&Place::new(), through), EntryError::ThroughLink));
}

/// A link to a symbolic link is a second name of the link itself: nothing behind it is reached.
#[test]
fn a_hard_link_to_a_symbolic_link_does_not_reach_behind_it() {
    let place = Place::new();
    let archive = Archive::new().symlink("a", "../outside/victim").hard_link("b", "a");
    place.unpack(&[archive.finish()]).unwrap();
    place.assert_outside_untouched();
    assert!(place.tree().join("b").is_symlink());
    let place = Place::new();
    let archive = Archive::new().symlink("a", "../outside/victim").hard_link("b", "a");
    place.unpack(&[archive.file("b", b"owned").finish()]).unwrap();
    place.assert_outside_untouched();
}

#[test]
fn a_hard_link_to_nothing_or_to_a_directory_is_refused() {
    let error = refused(&Place::new(), Archive::new().hard_link("x", "gone"));
    assert!(matches!(error, EntryError::LinkMissing { .. }));
    let error = refused(&Place::new(), Archive::new().directory("d").hard_link("x", "d"));
    assert!(matches!(error, EntryError::LinkToDirectory { .. }));
    let swallowed = Archive::new().file("d/f", b"").hard_link("d", "d/f");
    assert!(matches!(refused(&Place::new(), swallowed), EntryError::LinkMissing { .. }));
}

#[test]
fn a_whiteout_removes_nothing_outside_of_the_tree() {
    for name in [".wh...", "a/.wh...", ".wh..", ".wh."] {
        let error = refused(&Place::new(), Archive::new().directory("a").file(name, b""));
        assert!(matches!(error, EntryError::Climbs), "{name}: {error:?}");
    }
    for name in ["out/.wh.victim", "out/.wh..wh..opq"] {
        let place = Place::new();
        let lower = Archive::new().symlink("out", "../outside").finish();
        let outcome = place.unpack(&[lower, Archive::new().file(name, b"").finish()]);
        place.assert_outside_untouched();
        let Err(ImportError::Entry { source: EntryError::ThroughLink, .. }) = outcome else {
            panic!("{name}: {outcome:?}");
        };
    }
}

#[test]
fn devices_outside_of_dev_are_refused() {
    for (kind, device) in [
        (EntryType::Block, (8, 0)),
        (EntryType::Block, (7, 0)),
        (EntryType::Char, (1, 1)),
        (EntryType::Char, (0, 0)),
        (EntryType::Char, (10, 200)),
    ] {
        let error = refused(&Place::new(), Archive::new().device(kind, "home/disk", device));
        let EntryError::Device { major, minor, .. } = error else { panic!("{error:?}") };
        assert_eq!((major, minor), device);
    }
    let place = Place::new();
    let in_dev = Archive::new().device(EntryType::Block, "dev/sda", (8, 0));
    assert_eq!(place.unpack(&[in_dev.finish()]).unwrap().devices, 1);
    assert_eq!(super::names_in(&place.tree()), [""; 0]);
}

#[test]
fn the_root_is_not_replaced() {
    for name in ["/", ".", "./"] {
        let error = refused(&Place::new(), Archive::new().symlink(name, "/etc"));
        assert!(matches!(error, EntryError::Root), "{name}: {error:?}");
    }
}

#[test]
fn a_file_is_no_directory() {
    let archive = Archive::new().file("a", b"").file("a/b", b"");
    assert!(matches!(refused(&Place::new(), archive), EntryError::ThroughFile));
    let dangling = Archive::new().symlink("a", "gone").file("a/b", b"");
    assert!(matches!(refused(&Place::new(), dangling), EntryError::ThroughFile));
}

#[test]
fn a_tree_has_a_bottom() {
    let deep = "d/".repeat(400);
    let error = refused(&Place::new(), Archive::new().file(&format!("{deep}f"), b""));
    assert!(matches!(error, EntryError::TooDeep { limit: 256 }));
    // Links make it no deeper.
    let half = "d/".repeat(200);
    let archive = Archive::new().directory(&half).records([("linkpath", half.as_bytes())]);
    let archive = archive.symlink("short", "").file(&format!("short/{half}f"), b"");
    assert!(matches!(refused(&Place::new(), archive), EntryError::TooDeep { .. }));
}

#[test]
fn an_owner_that_means_none_is_refused() {
    let place = Place::new();
    let archive = Archive::new().records([("uid", &b"4294967295"[..])]).file("a", b"");
    let outcome = place.unpack(&[archive.finish()]);
    let Err(ImportError::Damaged { source: TarError::Field { field, .. }, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(field, "owner");
}

#[test]
fn an_unknown_kind_is_refused() {
    for kind in [b'M', b'V', b'D', b'Z'] {
        let archive = Archive::new().entry(EntryType::new(kind), b"a", |_| {}, b"");
        let error = refused(&Place::new(), archive);
        assert!(
            matches!(error, EntryError::Kind { kind: k } if k == char::from(kind)),
            "{error:?}"
        );
    }
}

#[test]
fn what_unpacks_to_more_than_allowed_is_broken_off() {
    let place = Place::new();
    let limits = Limits { bytes: Bytes(1 << 20), ..Limits::default() };
    let archive = Archive::new().file("zeros", &vec![0; 2 << 20]).finish();
    let outcome = place.unpack_with(&[archive], Names::Plain, limits);
    assert!(matches!(outcome, Err(ImportError::TooLarge { .. })), "{outcome:?}");
    let written = place.tree().join("zeros").metadata().unwrap().len();
    assert!(written <= 1 << 20, "{written}");
}

#[test]
fn a_bomb_is_broken_off_before_it_has_gone_off() {
    use std::io::Write;
    // It says a gibibyte, and the zeros for the beginning of it.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let huge = |header: &mut tar::Header| header.set_size(1 << 30);
    let bomb = Archive::new().entry(EntryType::Regular, b"bomb", huge, b"").finish();
    packed.write_all(&bomb[..512]).unwrap();
    packed.write_all(&vec![0; 16 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 1 << 20);
    let place = Place::new();
    let never = std::sync::atomic::AtomicBool::new(false);
    let limits = Limits { bytes: Bytes(4 << 20), ..Limits::default() };
    let budget = Budget::new(limits, &never);
    let tree = super::super::tree::Tree::open(&place.tree()).unwrap();
    let mut unpacker = super::super::unpack::Unpacker::new(tree, Names::Plain, &budget);
    let reader = super::super::source::unpacked("bomb", packed.as_slice()).unwrap();
    let outcome = unpacker.unpack("bomb", reader).map(drop);
    assert!(matches!(outcome, Err(ImportError::TooLarge { .. })), "{outcome:?}");
}

#[test]
fn too_many_entries_are_refused_and_implied_directories_count() {
    let limits = Limits { entries: 10, ..Limits::default() };
    let archive = |count: usize| {
        let all = (0..count).fold(Archive::new(), |it, n| it.file(&format!("f{n}"), b""));
        all.finish()
    };
    let unpack = |archive| Place::new().unpack_with(&[archive], Names::Plain, limits);
    unpack(archive(10)).unwrap();
    assert!(matches!(unpack(archive(11)), Err(ImportError::TooMany { .. })));
    let implied = Archive::new().file("a/b/c/d/e/f/g/h/i/j/k", b"").finish();
    assert!(matches!(unpack(implied), Err(ImportError::TooMany { .. })));
    // What is written over and over is made over and over.
    let again = (0..11).fold(Archive::new(), |it, _| it.file("same", b"")).finish();
    assert!(matches!(unpack(again), Err(ImportError::TooMany { .. })));
}

#[test]
fn an_extended_header_of_any_length_is_not_taken_into_memory() {
    let long = vec![b'a'; 2 << 20];
    let archive = Archive::new().entry(EntryType::GNULongName, b"x", |_| {}, &long).file("a", b"");
    let outcome = Place::new().unpack(&[archive.finish()]);
    let Err(ImportError::Damaged { source: TarError::RecordSize { .. }, .. }) = outcome else {
        panic!("{outcome:?}");
    };
}

#[test]
fn an_archive_that_is_cut_off_is_refused_wherever_that_is() {
    let whole = Archive::new().file("a", &[7; 700]).directory("d").file("d/b", b"b").finish();
    // The end mark is two blocks; one of them is enough.
    let end = whole.len() - 1024;
    for length in (0..end).step_by(100).chain([512, 1024, end - 512, end]) {
        let outcome = Place::new().unpack(&[whole[..length].to_vec()]);
        assert!(matches!(outcome, Err(ImportError::CutOff { .. })), "{length}: {outcome:?}");
    }
    Place::new().unpack(&[whole]).unwrap();
}

#[test]
fn a_header_that_was_changed_is_refused() {
    let mut archive = Archive::new().file("a", b"content").finish();
    archive[100] ^= 1;
    let outcome = Place::new().unpack(&[archive]);
    let Err(ImportError::Damaged { source: TarError::Checksum, .. }) = outcome else {
        panic!("{outcome:?}");
    };
}

mod random {
    use super::*;
    use proptest::prelude::*;

    /// Parts of names, so that links and entries meet.
    fn name() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "a",
            "b",
            "c",
            "..",
            ".",
            ".wh.a",
            ".wh..wh..opq",
            "outside",
            "victim",
            "tree",
        ]);
        let lead = prop::sample::select(vec!["", "", "", "/", "../", "./"]);
        (lead, prop::collection::vec(part, 1..4))
            .prop_map(|(lead, parts)| lead.to_owned() + &parts.join("/"))
    }

    fn entries() -> impl Strategy<Value = Vec<(u8, String, String)>> {
        prop::collection::vec((0..5_u8, name(), name()), 1..12)
    }

    proptest! {
        /// Whatever names, links and whiteouts are put together, each alone: an entry that is refused
        /// ends an import, so that later ones need archives of their own.
        #[test]
        fn nothing_is_written_outside_of_the_tree(entries in entries()) {
            let place = Place::new();
            for (kind, name, target) in &entries {
                let archive = Archive::new();
                let archive = match kind {
                    0 => archive.directory(name),
                    1 => archive.symlink(name, target),
                    2 => archive.hard_link(name, target),
                    3 => archive.symlink("a", target),
                    _ => archive.file(name, b"owned"),
                };
                let _outcome = place.unpack(&[Archive::new().finish(), archive.finish()]);
                place.assert_outside_untouched();
            }
        }

        #[test]
        fn any_bytes_are_refused_or_unpacked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let place = Place::new();
            let _outcome = place.unpack(&[bytes]);
            place.assert_outside_untouched();
        }

        #[test]
        fn a_changed_archive_is_refused_or_unpacked_without_a_panic(at in 0..3584_usize, to: u8) {
            let place = Place::new();
            let mut archive = Archive::new()
                .records([("mtime", &b"1.5"[..])])
                .file("a", b"content")
                .symlink("b", "a")
                .finish();
            if let Some(byte) = archive.get_mut(at) {
                *byte = to;
            }
            let _outcome = place.unpack(&[archive]);
            place.assert_outside_untouched();
        }
    }
}
