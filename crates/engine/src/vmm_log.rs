//! What a VMM says about itself, passed on into the daemon's log at `debug`.

use banger_core::telling::plain;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much is passed on at once: a VMM that says more has its own log for it.
const MOST: u64 = 64 << 10;

/// A VMM's log that is followed.
#[derive(Debug)]
pub(crate) struct VmmLog {
    path: PathBuf,
    offset: u64,
}

impl VmmLog {
    /// Passes on what is in the log and what will be.
    pub(crate) fn from_start(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0 }
    }

    /// Passes on what is appended from now on, as where an earlier daemon has seen the rest.
    pub(crate) fn from_end(path: &Path) -> Self {
        let offset = path.metadata().map_or(0, |meta| meta.len());
        Self { path: path.to_owned(), offset }
    }

    /// Logs each new line. Where nobody would see them they are not even read.
    pub(crate) fn pass_on(&mut self) -> io::Result<()> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            *self = Self::from_end(&self.path);
            return Ok(());
        }
        for line in self.new_lines()? {
            tracing::debug!(voice = "vmm", "{line}");
        }
        Ok(())
    }

    /// The whole lines since the last look; of very much, the end.
    fn new_lines(&mut self) -> io::Result<Vec<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let start = self.offset.max(length.saturating_sub(MOST)).min(length);
        let mut bytes = vec![0; usize::try_from(length - start).expect("it is not much")];
        file.read_exact_at(&mut bytes, start)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.offset = start + u64::try_from(whole).expect("it is not much");
        let text = String::from_utf8_lossy(&bytes[..whole]);
        Ok(text.lines().map(plain).filter(|line| !line.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_line_comes_once_and_a_torn_one_when_it_is_whole() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"earlier\n").unwrap();
        let mut all = VmmLog::from_start(log.path());
        let mut new = VmmLog::from_end(log.path());
        log.write_all(b"\x1b[1mone\x1b[0m\r\n\ntw").unwrap();
        assert_eq!(all.new_lines().unwrap(), ["earlier", "one"]);
        assert_eq!(new.new_lines().unwrap(), ["one"]);
        log.write_all(b"o\n").unwrap();
        assert_eq!(all.new_lines().unwrap(), ["two"]);
        assert_eq!(all.new_lines().unwrap(), [""; 0]);
    }

    #[test]
    fn of_very_much_the_end_comes() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut all = VmmLog::from_start(log.path());
        log.write_all(&b"again\n".repeat(100_000)).unwrap();
        log.write_all(b"last\n").unwrap();
        let lines = all.new_lines().unwrap();
        assert!(lines.len() < 20_000 && lines.last().unwrap() == "last");
        assert_eq!(VmmLog::from_start(Path::new("/nowhere/x")).new_lines().unwrap(), [""; 0]);
    }
}
