//! Reading a log that grows, from its beginning or from some lines before its end. Where its middle
//! was cut out, a line says so.

use axum::body::Bytes;
use banger_host::raw_log::{Stretch, render_cut, stretch_at};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// How much is read at a time.
const PIECE: usize = 64 << 10;

/// A place in a file that may grow, be truncated, be replaced, or not be there yet.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    /// How far to read; what is written later comes with the next look.
    end: u64,
    /// What has taken the file's place: read when the end of that is.
    next: Option<File>,
}

/// What one read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// These bytes.
    Piece(Bytes),
    /// The end, as it was at the last look.
    End,
}

impl Tail {
    /// Opens a file at its beginning, or `lines` before its end. One that is not there is empty.
    pub(super) fn open(path: PathBuf, lines: Option<u32>) -> Result<Self, (PathBuf, io::Error)> {
        let mut tail = Self { path, file: None, offset: 0, end: 0, next: None };
        match tail.seek(lines) {
            Ok(()) => Ok(tail),
            Err(error) => Err((tail.path, error)),
        }
    }

    fn seek(&mut self, lines: Option<u32>) -> io::Result<()> {
        self.file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = &self.file {
            self.end = file.metadata()?.len();
            self.offset = match lines {
                Some(lines) => line_start(file, self.end, lines)?,
                None => 0,
            };
        }
        Ok(())
    }

    /// Reads on from where the last read stopped.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        loop {
            let piece = self.read_file()?;
            match (&piece, self.next.take()) {
                (Read::End, Some(next)) => self.turn_to(next),
                (_, next) => {
                    self.next = next;
                    return Ok(piece);
                }
            }
        }
    }

    fn read_file(&mut self) -> io::Result<Read> {
        let Some(file) = &self.file else { return Ok(Read::End) };
        while let Some(stretch) = stretch_at(file, self.offset, self.end)? {
            let kept = match stretch {
                Stretch::Kept(kept) => kept,
                Stretch::Cut(cut) => {
                    self.offset = cut.end;
                    return Ok(Read::Piece(render_cut(&cut).into()));
                }
            };
            let left = usize::try_from(kept.end - kept.start).unwrap_or(usize::MAX);
            let mut piece = vec![0; left.min(PIECE)];
            let count = file.read_at(&mut piece, kept.start)?;
            if count == 0 {
                break;
            }
            piece.truncate(count);
            let read = kept.start..kept.start + u64::try_from(count).expect("a piece is small");
            // It may have been cut out while it was read.
            if stretch_at(file, read.start, read.end)? == Some(Stretch::Kept(read.clone())) {
                self.offset = read.end;
                return Ok(Read::Piece(piece.into()));
            }
        }
        Ok(Read::End)
    }

    fn turn_to(&mut self, file: File) {
        self.end = file.metadata().map_or(0, |meta| meta.len());
        self.offset = 0;
        self.file = Some(file);
    }

    /// Finds out how the file has changed. One that took its place is read after it, one that was
    /// truncated from its beginning; what cannot be looked at counts as unchanged.
    pub(super) fn look_again(&mut self) {
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        let named = self.path.metadata().ok();
        let is_same = match (&open, &named) {
            (Some(open), Some(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
            // It was removed: what is left to read is still in the open file.
            (_, None) => true,
            (None, Some(_)) => false,
        };
        if let Some(open) = open {
            self.end = open.len();
            if self.end < self.offset {
                self.offset = 0;
            }
        }
        if !is_same && let Ok(file) = File::open(&self.path) {
            self.next = Some(file);
        }
    }
}

/// Where the last `lines` lines of the first `end` bytes begin. A line feed at the very end closes
/// the last line and begins none. Where the middle was cut out, what is before that is read only for
/// more lines than there are after it.
fn line_start(file: &File, end: u64, lines: u32) -> io::Result<u64> {
    let (mut left, mut first) = (u64::from(lines), end);
    if left == 0 {
        return Ok(end);
    }
    for kept in kept_stretches(file, end)?.into_iter().rev() {
        first = kept.start;
        if let Some(start) = line_start_in(file, kept, end, &mut left)? {
            return Ok(start);
        }
    }
    Ok(first)
}

fn kept_stretches(file: &File, end: u64) -> io::Result<Vec<Range<u64>>> {
    let (mut kept, mut offset) = (Vec::new(), 0);
    while let Some(stretch) = stretch_at(file, offset, end)? {
        offset = match stretch {
            Stretch::Kept(range) => {
                kept.push(range.clone());
                range.end
            }
            Stretch::Cut(range) => range.end,
        };
    }
    Ok(kept)
}

/// Counts lines backwards in one stretch; `None` if it has not as many as are left.
fn line_start_in(
    file: &File,
    stretch: Range<u64>,
    end: u64,
    left: &mut u64,
) -> io::Result<Option<u64>> {
    const BLOCK: u64 = 8 << 10;
    let mut block = vec![0; usize::try_from(BLOCK).expect("a block is small")];
    let mut at = stretch.end;
    while at > stretch.start {
        let size = (at - stretch.start).min(BLOCK);
        let block = &mut block[..usize::try_from(size).expect("a block is small")];
        file.read_exact_at(block, at - size)?;
        for byte in block.iter().rev() {
            if *byte == b'\n' && at != end {
                *left -= 1;
                if *left == 0 {
                    return Ok(Some(at));
                }
            }
            at -= 1;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn all(tail: &mut Tail) -> String {
        let mut text = Vec::new();
        while let Read::Piece(bytes) = tail.read().unwrap() {
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).unwrap()
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_number_of_lines_counts_from_the_end() {
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\nc\n", 3, "a\nb\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\nb\nc\n", 0, ""),
            ("\n\n\n", 2, "\n\n"),
            ("", 5, ""),
        ] {
            let (_dir, path) = file(text);
            let mut tail = Tail::open(path, Some(lines)).unwrap();
            assert_eq!(all(&mut tail), expected, "{text:?} {lines}");
        }
    }

    #[test]
    fn lines_are_found_across_blocks() {
        let text: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        let (_dir, path) = file(&text);
        let mut tail = Tail::open(path, Some(5000)).unwrap();
        let read = all(&mut tail);
        assert!(read.starts_with("line 5000\n") && read.ends_with("line 9999\n"));
        assert_eq!(read.lines().count(), 5000);
    }

    #[test]
    fn what_is_written_later_comes_with_the_next_look() {
        let (_dir, path) = file("a\n");
        let mut tail = Tail::open(path.clone(), None).unwrap();
        let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(b"b\n").unwrap();
        assert_eq!(all(&mut tail), "a\n");
        tail.look_again();
        assert_eq!(all(&mut tail), "b\n");
        fs::remove_file(&path).unwrap();
        writer.write_all(b"c\n").unwrap();
        tail.look_again();
        assert_eq!(all(&mut tail), "c\n");
    }

    #[test]
    fn what_is_left_of_a_file_that_was_replaced_comes_first() {
        let (_dir, path) = file("a\n");
        let mut tail = Tail::open(path.clone(), None).unwrap();
        assert_eq!(all(&mut tail), "a\n");
        let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(b"last words\n").unwrap();
        fs::rename(&path, path.with_extension("1")).unwrap();
        fs::write(&path, "new\n").unwrap();
        tail.look_again();
        assert_eq!(all(&mut tail), "last words\nnew\n");
    }

    #[test]
    fn a_middle_that_was_cut_out_is_one_line() {
        let (_dir, path) = file("first\n");
        let log = fs::OpenOptions::new().write(true).open(&path).unwrap();
        log.write_all_at(b"\nlast but one\nlast\n", 1 << 30).unwrap();
        drop(log);
        let read = all(&mut Tail::open(path.clone(), None).unwrap());
        let shown = read.replace('\0', "");
        assert_eq!(
            shown,
            "first\n\n[banger: 1023.9 MiB are left out here]\n\nlast but one\nlast\n"
        );
        assert!(read.len() < 8192, "{}", read.len());
        assert_eq!(all(&mut Tail::open(path.clone(), Some(1)).unwrap()), "last\n");
        // A line before the hole is the fourth from the end.
        let read = all(&mut Tail::open(path, Some(4)).unwrap());
        assert!(read.contains("left out") && read.ends_with("last but one\nlast\n"), "{read}");
    }

    #[test]
    fn a_file_that_appears_or_is_replaced_or_cut_is_read_from_its_beginning() {
        let (_dir, path) = file("old\n");
        fs::remove_file(&path).unwrap();
        let mut tail = Tail::open(path.clone(), Some(10)).unwrap();
        assert_eq!(all(&mut tail), "");
        fs::write(&path, "first\n").unwrap();
        tail.look_again();
        assert_eq!(all(&mut tail), "first\n");
        fs::rename(&path, path.with_extension("1")).unwrap();
        fs::write(&path, "second\n").unwrap();
        tail.look_again();
        assert_eq!(all(&mut tail), "second\n");
        fs::write(&path, "3\n").unwrap();
        tail.look_again();
        assert_eq!(all(&mut tail), "3\n");
    }
}
