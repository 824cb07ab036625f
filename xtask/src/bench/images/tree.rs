//! Trees of files that are the same in each run, much like those of a distribution: many small files
//! and few large ones, one half of them text and the other noise, and some links.

use anyhow::{Context, Result, ensure};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// How many files a directory has, and how many directories one has.
const WIDTH: u64 = 40;
/// Every so many files one is a program, and one has a link to it.
const SPECIAL: u64 = 16;
/// What contents are cut from.
const POOL: usize = 4 << 20;
/// The least size, and how often it doubles: the mean is 24.6 KiB, the greatest 192 KiB.
const LEAST: u64 = 48;
const DOUBLINGS: u64 = 12;

/// A tree that was made.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) dir: PathBuf,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Tree {
    /// Makes a tree with so many bytes in its files.
    pub(super) fn make(dir: &Path, bytes: u64, seed: u64) -> Result<Self> {
        let mut random = Random(seed);
        let noise: Vec<u8> = (0..POOL / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let text: Vec<u8> =
            noise.iter().map(|byte| b"etaoin srhldcum\n"[usize::from(byte & 15)]).collect();
        let mut tree = Self { dir: dir.to_owned(), files: 0, bytes: 0 };
        while tree.bytes < bytes {
            let base = LEAST << random.below(DOUBLINGS);
            let size = (base + random.below(base)).min(bytes - tree.bytes);
            let pool = if random.below(2) == 0 { &noise } else { &text };
            let start = usize::try_from(random.below(POOL as u64 - size))?;
            let content = &pool[start..start + usize::try_from(size)?];
            tree.add(content).with_context(|| format!("cannot write to {}", dir.display()))?;
        }
        Ok(tree)
    }

    fn add(&mut self, content: &[u8]) -> std::io::Result<()> {
        let number = self.files;
        let group = number / WIDTH;
        let dir = self.dir.join(format!("{:03}/{:02}", group / WIDTH, group % WIDTH));
        if number.is_multiple_of(WIDTH) {
            fs::create_dir_all(&dir)?;
        }
        let name = format!("file-{number}");
        let is_special = number.is_multiple_of(SPECIAL);
        let mode = if is_special { 0o755 } else { 0o644 };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(dir.join(&name))?;
        file.write_all(content)?;
        if is_special {
            symlink(&name, dir.join(format!("link-{number}")))?;
        }
        self.files += 1;
        self.bytes += content.len() as u64;
        Ok(())
    }

    /// Fails unless a directory has as many files with as many bytes.
    pub(super) fn check_copy(&self, copy: &Path) -> Result<()> {
        let found = count(copy).with_context(|| format!("cannot look at {}", copy.display()))?;
        ensure!(
            found == (self.files, self.bytes),
            "{} has {} files with {} bytes, not {} with {}",
            copy.display(),
            found.0,
            found.1,
            self.files,
            self.bytes
        );
        Ok(())
    }
}

/// The files below a directory, and their bytes.
fn count(dir: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            let below = count(&entry.path())?;
            (files, bytes) = (files + below.0, bytes + below.1);
        } else if found.is_file() {
            (files, bytes) = (files + 1, bytes + found.len());
        }
    }
    Ok((files, bytes))
}

/// Numbers without order that are the same in each run: SplitMix64, whose constants these are
/// (G. L. Steele and others, "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`. That some are a little more likely is of no matter here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_the_same_each_time_and_as_large_as_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] =
            ["one", "other"].map(|name| Tree::make(&dir.path().join(name), 3 << 20, 7).unwrap());
        assert_eq!((one.bytes, one.files), (3 << 20, other.files));
        one.check_copy(&other.dir).unwrap();
        let file = "000/00/file-16";
        let read = |tree: &Tree| fs::read(tree.dir.join(file)).unwrap();
        assert_eq!(read(&one), read(&other));
        assert_eq!(read(&one), fs::read(one.dir.join("000/00/link-16")).unwrap());
        fs::remove_file(other.dir.join(file)).unwrap();
        assert!(one.check_copy(&other.dir).unwrap_err().to_string().contains("files with"));
    }
}
