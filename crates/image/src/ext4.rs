//! Writing a directory tree as an ext4 image.

use banger_core::unit::MiB;
use banger_host::cmd::{Cmd, CmdError};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The file system's label.
const LABEL: &str = "banger-root";
/// For a small tree on a busy machine.
const LEAST_TIME: Duration = Duration::from_secs(300);
/// What any disk writes in a second, in MiB.
const RATE: u32 = 8;

/// How many inodes a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inodes {
    /// As many as mke2fs finds right for the size.
    Usual,
    /// This many.
    Number(u64),
}

/// Writes the tree as a sparse image of the given virtual size. Owners, permissions, times, hard links
/// and extended attributes are those of the tree.
pub(crate) fn write(
    tree: &Path,
    image: &Path,
    size: MiB,
    inodes: Inodes,
    cancel: &AtomicBool,
) -> Result<(), CmdError> {
    let mut command = Cmd::new("mke2fs")
        .clean_env()
        .die_with_caller()
        .timeout(LEAST_TIME + Duration::from_secs(u64::from(size.get() / RATE)))
        // A small image would get smaller blocks, and keep them when it grows.
        .args(["-q", "-F", "-t", "ext4", "-L", LABEL, "-m", "0", "-b", "4096"])
        // Tables that are all zeros stay holes.
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1"]);
    if let Inodes::Number(count) = inodes {
        command = command.arg("-N").arg(count.to_string());
    }
    let outcome = command
        .arg("-d")
        .args([tree, image])
        .arg(format!("{}M", size.get()))
        .run_cancellable(cancel);
    outcome.map(drop)
}
