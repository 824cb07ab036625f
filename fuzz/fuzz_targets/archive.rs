//! Archives and container images that anybody wrote: what they unpack to, and that it is nowhere else.

#![no_main]

use banger_core::unit::Bytes;
use banger_image::import::{ImportRequest, Limits, unpack};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Far less than a trap needs to be one, so that it is found quickly.
const LIMITS: Limits = Limits { bytes: Bytes(8 << 20), entries: 256 };
/// What is beside the tree, and how it is to stay.
const BESIDE: [&str; 3] = ["archive", "tree", "victim"];
const VICTIM: &[u8] = b"untouched";

fuzz_target!(|archive: &[u8]| {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let source = place.path().join("archive");
    fs::write(&source, archive).expect("there is room for the archive");
    fs::write(place.path().join("victim"), VICTIM).expect("there is room for the victim");
    let (dir, cancel) = (place.path(), AtomicBool::new(false));
    let request =
        ImportRequest { source: &source, dir, size: None, limits: LIMITS, cancel: &cancel };
    match unpack(&request) {
        Ok(tree) => assert!(files_below(&tree) <= LIMITS.bytes.0, "more than the limit is there"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_eq!(fs::read(place.path().join("victim")).ok().as_deref(), Some(VICTIM));
    assert_eq!(fs::read(&source).ok().as_deref(), Some(archive));
    for entry in fs::read_dir(place.path()).expect("the directory is there") {
        let name = entry.expect("it can be listed").file_name();
        let is_known = BESIDE.iter().any(|known| name == *known) || name == "spool.tar";
        assert!(is_known, "{} is beside the tree", name.display());
    }
});

/// What files below a directory occupy, in bytes; a hole takes nothing.
fn files_below(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => files_below(&entry.path()),
        Ok(meta) if meta.is_file() && meta.nlink() == 1 => meta.blocks() * 512,
        _ => 0,
    });
    sizes.sum()
}
