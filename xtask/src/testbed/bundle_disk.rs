//! The disk with the runtime bundle, which the host reads as a local file system.

use super::place::{Place, remove};
use crate::cmd::Cmd;
use crate::daemon::fnv1a;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WRITE: Duration = Duration::from_secs(300);
/// What a file system needs beside the files, at the least.
const ROOM: u64 = 64 << 20;

/// The disk's image, which is built if need be. Nobody may change the bundle meanwhile.
pub(super) fn ensure(place: &Place, bundle: &Path) -> Result<PathBuf> {
    let files = Files::of(bundle)?;
    let image = place.kept(&format!("bundle-{}", files.key));
    if image.is_file() {
        return Ok(image);
    }
    let part = place.kept("part");
    remove(&part)?;
    let room = files.used / 8 + ROOM;
    // The holes in its files stay holes.
    Cmd::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-d"])
        .args([bundle, &part])
        .arg(format!("{}K", (files.used + room) >> 10))
        .timeout(WRITE)
        .run()?;
    fs::rename(&part, &image).with_context(|| format!("cannot write {}", image.display()))?;
    Ok(image)
}

/// The files of a bundle.
struct Files {
    /// What tells these files from others, without reading them all.
    key: String,
    /// How many bytes they take.
    used: u64,
}

impl Files {
    fn of(dir: &Path) -> Result<Self> {
        let doing = || format!("cannot list {}", dir.display());
        let (mut input, mut used) = (Vec::new(), 0);
        for entry in fs::read_dir(dir).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            let meta = entry.metadata().with_context(doing)?;
            used += meta.blocks() * 512;
            let name = entry.file_name();
            let times = (meta.mtime(), meta.mtime_nsec());
            input.push(format!("{} {} {times:?}", name.to_string_lossy(), meta.len()));
        }
        input.sort();
        Ok(Self { key: format!("{:016x}", fnv1a(input.join("\n").as_bytes())), used })
    }
}
