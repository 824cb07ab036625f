//! Raw output of VMMs: one file for each boot, of which no more than its start and its end is kept.
//!
//! A VMM writes to a file and not to a pipe, since it goes on when the daemon is away and must not
//! wait for a reader. So the file is bounded from outside: its middle becomes a hole. Neither the
//! writer nor a reader notices, for no byte changes its offset, and both kinds of writers go on
//! where they are: those that append, and those that write at an offset of their own.
//!
//! ```text
//! 0            HEAD                              length − TAIL        length
//! │ the start  │ a hole, once there is too much  │ the end            │
//! ```
//!
//! Each start of a VMM begins a new file; that of the boot before is kept beside it
//! ([`log_before`]). While no daemon runs nothing is cut: the next one does it when it takes the
//! VM up.

use crate::{Change, HostError};
use banger_core::names::log_before;
use banger_core::resource::VmmProcess;
use banger_core::unit::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How much of a log's start is kept: a whole boot of a talkative kernel has half of it.
pub const HEAD: u64 = 256 << 10;
/// How much of a log's end is kept.
pub const TAIL: u64 = 1 << 20;
/// How much more than that a log may hold before it is cut, so that not every line is a cut.
const SLACK: u64 = 256 << 10;
/// The usual block of a file system. Only whole blocks become holes; of others the kernel would
/// leave zeroes.
const BLOCK: u64 = 4 << 10;

/// A stretch of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stretch {
    /// What was written there is there.
    Kept(Range<u64>),
    /// What was written there was cut out.
    Cut(Range<u64>),
}

/// The stretch that begins at `offset`, up to `end` at most; `None` if there is none.
pub fn stretch_at(log: &File, offset: u64, end: u64) -> io::Result<Option<Stretch>> {
    if offset >= end {
        return Ok(None);
    }
    let data = match seek(log, SeekFrom::Data(offset)) {
        Ok(data) => data,
        // There is no data from here on (lseek(2)).
        Err(Errno::NXIO) => return Ok(Some(Stretch::Cut(offset..end))),
        Err(errno) => return Err(errno.into()),
    };
    if data > offset {
        return Ok(Some(Stretch::Cut(offset..data.min(end))));
    }
    Ok(Some(Stretch::Kept(offset..seek(log, SeekFrom::Hole(offset))?.min(end))))
}

/// The line that stands in a log's text for what was cut out.
pub fn render_cut(cut: &Range<u64>) -> String {
    format!("\n[banger: {} are left out here]\n", Bytes(cut.end - cut.start))
}

/// A whole log as text for people, no longer than what is kept of one. One that is not there is
/// empty.
pub fn read_kept(path: &Path) -> io::Result<Vec<u8>> {
    let log = match File::open(path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = log.metadata()?.len();
    // One that is not longer was never cut.
    if length <= HEAD + TAIL + SLACK {
        return read_range(&log, 0..length);
    }
    let cut = HEAD..length - TAIL;
    let mut text = read_range(&log, 0..cut.start)?;
    text.extend_from_slice(render_cut(&cut).as_bytes());
    text.extend(read_range(&log, cut.end..length)?);
    Ok(text)
}

fn read_range(log: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    log.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// Begins the log of a boot: puts that of the boot before aside, in place of an older one, and opens
/// an empty one to append to.
pub(crate) fn begin(path: &Path) -> Result<File, HostError> {
    let before = log_before(path);
    let moved = match fs::symlink_metadata(path) {
        Ok(meta) if meta.len() > 0 => fs::rename(path, &before),
        _ => Ok(()),
    };
    moved.map_err(HostError::io("put aside the log", path.display()))?;
    let _already_bounded = bound(&before)?;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(HostError::io("open the log", path.display()))
}

/// Bounds both of a VMM's logs.
pub(crate) fn bound_both(vmm: &VmmProcess) -> Result<Change, HostError> {
    match (bound(&vmm.stdout)?, bound(&vmm.stderr)?) {
        (Change::Unchanged, Change::Unchanged) => Ok(Change::Unchanged),
        _ => Ok(Change::Changed),
    }
}

/// Cuts the middle out of a log if it is too long. One that is not there is not.
pub fn bound(path: &Path) -> Result<Change, HostError> {
    match cut(path) {
        Ok(change) => Ok(change),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::Unchanged),
        Err(error) => Err(HostError::io("cut the middle out of the log", path.display())(error)),
    }
}

fn cut(path: &Path) -> io::Result<Change> {
    let log =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let meta = log.metadata()?;
    let most = HEAD + TAIL + SLACK;
    if meta.len() <= most || meta.blocks().saturating_mul(512) <= most {
        return Ok(Change::Unchanged);
    }
    let block = meta.blksize().clamp(BLOCK, HEAD);
    let (start, end) = (HEAD.next_multiple_of(block), (meta.len() - TAIL) / block * block);
    if start >= end {
        return Ok(Change::Unchanged);
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&log, flags, start, end - start)?;
    Ok(Change::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MOST: u64 = HEAD + TAIL + SLACK;

    fn allocated(path: &Path) -> u64 {
        fs::metadata(path).unwrap().blocks() * 512
    }

    /// Eight bytes a line.
    fn lines(numbers: Range<u32>) -> Vec<u8> {
        numbers.map(|number| format!("{number:07}\n")).collect::<String>().into_bytes()
    }

    #[test]
    fn a_log_that_grows_without_end_keeps_its_start_and_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut writer = begin(&path).unwrap();
        let (each, rounds) = (65_536, 100);
        for round in 0..rounds {
            writer.write_all(&lines(round * each..(round + 1) * each)).unwrap();
            let _cut_or_not = bound(&path).unwrap();
            assert!(allocated(&path) <= MOST, "round {round}: {}", allocated(&path));
        }
        let length = u64::from(each * rounds) * 8;
        assert_eq!(fs::metadata(&path).unwrap().len(), length);
        let log = File::open(&path).unwrap();
        let cut = HEAD..length - TAIL;
        assert_eq!(stretch_at(&log, 0, length).unwrap(), Some(Stretch::Kept(0..cut.start)));
        assert_eq!(stretch_at(&log, HEAD, length).unwrap(), Some(Stretch::Cut(cut.clone())));
        assert_eq!(
            stretch_at(&log, cut.end, length).unwrap(),
            Some(Stretch::Kept(cut.end..length))
        );
        assert_eq!(stretch_at(&log, length, length).unwrap(), None);
        let text = String::from_utf8(read_kept(&path).unwrap()).unwrap();
        assert!(text.starts_with("0000000\n0000001\n"));
        assert!(text.ends_with(&format!("{:07}\n", each * rounds - 1)));
        assert!(text.contains("\n[banger: 48.7 MiB are left out here]\n"), "{}", text.len());
        assert!(!text.contains('\0'));
    }

    #[test]
    fn a_writer_with_an_offset_of_its_own_goes_on_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmm.log");
        drop(begin(&path).unwrap());
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        for _ in 0..8 {
            writer.write_all(&lines(0..65_536)).unwrap();
            let _cut_or_not = bound(&path).unwrap();
        }
        assert!(allocated(&path) <= MOST);
        let end = String::from_utf8(read_kept(&path).unwrap()).unwrap();
        assert!(end.ends_with("0065534\n0065535\n"));
    }

    #[test]
    fn a_log_of_less_than_what_is_kept_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        assert_eq!(bound(&path).unwrap(), Change::Unchanged);
        assert_eq!(read_kept(&path).unwrap(), b"");
        let text = vec![b'x'; usize::try_from(MOST).unwrap()];
        fs::write(&path, &text).unwrap();
        assert_eq!(bound(&path).unwrap(), Change::Unchanged);
        assert!(read_kept(&path).unwrap() == text);
    }

    #[test]
    fn each_boot_begins_a_log_and_keeps_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        for boot in ["first", "second", "third"] {
            begin(&path).unwrap().write_all(boot.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(fs::read_to_string(log_before(&path)).unwrap(), "second");
        // A start that came to nothing does not push out the last words of one that did.
        drop(begin(&path).unwrap());
        drop(begin(&path).unwrap());
        assert_eq!(fs::read_to_string(log_before(&path)).unwrap(), "third");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
