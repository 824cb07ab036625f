//! The two ends of a log: how something began, and how it is now.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much of a log's start is taken.
const HEAD: u64 = 128 << 10;
/// How much of its end. The daemon keeps as much of what guests print.
const TAIL: u64 = 1 << 20;

/// A log, or its ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// What is taken.
    pub(super) text: String,
    /// The log's size, where only its ends are taken.
    pub(super) of: Option<u64>,
}

/// Reads the ends of a log.
pub(super) fn read(path: &Path) -> io::Result<Excerpt> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size <= HEAD + TAIL {
        return Ok(Excerpt { text: stretch(&file, 0, size)?, of: None });
    }
    let (head, tail) = (stretch(&file, 0, HEAD)?, stretch(&file, size - TAIL, TAIL)?);
    // What is cut within a line is not worth keeping, and could hide what has to be taken out.
    let head = head.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let tail = tail.split_once('\n').map_or("", |(_, whole)| whole);
    let left_out = size - HEAD - TAIL;
    let text = format!("{head}\n[{left_out} bytes and the lines around them are left out]\n{tail}");
    Ok(Excerpt { text, of: Some(size) })
}

fn stretch(file: &File, from: u64, length: u64) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], from + read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    bytes.truncate(read);
    // A log that was cut by the daemon has a hole in its middle, which reads as zeroes.
    bytes.retain(|byte| *byte != 0);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_log_is_whole_and_of_a_long_one_the_ends_are_taken() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "one\ntwo\n").unwrap();
        assert_eq!(read(log.path()).unwrap(), Excerpt { text: "one\ntwo\n".to_owned(), of: None });

        let lines: String = (0..200_000).map(|number| format!("line {number:09}\n")).collect();
        std::fs::write(log.path(), &lines).unwrap();
        let Excerpt { text, of } = read(log.path()).unwrap();
        assert_eq!(of, Some(lines.len() as u64));
        assert!(text.starts_with("line 000000000\n"), "{}", &text[..40]);
        assert!(text.ends_with("line 000199999\n"));
        assert!(text.len() as u64 <= HEAD + TAIL + 100, "{}", text.len());
        let odd: Vec<&str> = text.lines().filter(|line| line.len() != 14).collect();
        assert_eq!(odd.len(), 1, "{odd:?}");
        assert!(odd[0].ends_with("are left out]"), "{odd:?}");
    }
}
