//! Reading a VM's console log as it grows.

use banger_core::guest::{Stage, StageLine};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The longest line that is kept; the rest of a longer one is dropped.
const LINE_MAX: usize = 4096;
/// How much of what a running VM has said is read when it is taken up.
const PAST_BYTES: u64 = 1 << 20;
/// How much of the log's end is looked at for its last lines.
const TAIL_BYTES: u64 = 16 * 1024;

/// What the console has said since a place in the log.
#[derive(Debug)]
pub(crate) struct Console {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
    stage: Option<Stage>,
    trouble: Option<String>,
}

impl Console {
    /// Reads what is appended from now on.
    pub(crate) fn from_end(path: &Path) -> Self {
        let offset = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self::from_offset(path, offset)
    }

    /// Reads the log's last mebibyte too, as for a VM that runs already.
    pub(crate) fn with_past(path: &Path) -> Self {
        let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self::from_offset(path, length.saturating_sub(PAST_BYTES))
    }

    fn from_offset(path: &Path, offset: u64) -> Self {
        Self { path: path.to_owned(), offset, partial: Vec::new(), stage: None, trouble: None }
    }

    /// The log's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes in what is new. A log that is not there yet has nothing new.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            self.offset += u64::try_from(count).expect("a chunk is small");
            self.take(&chunk[..count]);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = String::from_utf8_lossy(&self.partial).into_owned();
                self.partial.clear();
                self.line(&line);
            } else if self.partial.len() < LINE_MAX {
                self.partial.push(byte);
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(found) = StageLine::parse(line) {
            if found.stage == Stage::Start {
                // The log goes on over restarts: what an earlier boot said no longer counts.
                self.trouble = None;
            }
            if found.stage == Stage::Failed {
                self.trouble = found.detail.error;
            }
            self.stage = Some(found.stage);
        } else if let Some((_, panic)) = line.split_once("Kernel panic - not syncing: ") {
            self.trouble = Some(format!("the guest kernel panicked: {}", panic.trim_end()));
        }
    }

    /// Whether banger-init has handed over in the boot that the log ends with.
    pub(crate) fn handed_over(&self) -> bool {
        self.stage == Some(Stage::Handover)
    }

    /// What went wrong in the guest, in its own words.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// The last lines of a log, at most `count`, without blank ones.
pub(crate) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that cannot be read has no lines to show; the error at hand matters more.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn stages_are_followed_over_torn_reads_and_restarts() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::with_past(log.path());
        let mut say = |console: &mut Console, text: &str| {
            log.write_all(text.as_bytes()).unwrap();
            console.read().unwrap();
        };
        say(&mut console, "[ 0.1] Linux\nbanger-init: start {\"uptime_ms\":1}\nbanger-init: hand");
        assert!(!console.handed_over());
        say(&mut console, "over {\"uptime_ms\":2}\r\nDebian login:");
        assert!(console.handed_over());
        say(&mut console, "\nbanger-init: start {\"uptime_ms\":1}\n");
        assert!(!console.handed_over());
        say(&mut console, "banger-init: failed {\"uptime_ms\":3,\"error\":\"no root\"}\n");
        assert_eq!(console.trouble(), Some("no root"));
        say(&mut console, "banger-init: start {\"uptime_ms\":1}\n");
        assert_eq!(console.trouble(), None);
        say(&mut console, "[ 2.0] Kernel panic - not syncing: Attempted to kill init!\n");
        assert_eq!(console.trouble(), Some("the guest kernel panicked: Attempted to kill init!"));
    }

    #[test]
    fn a_missing_log_is_an_empty_one() {
        let mut console = Console::from_end(Path::new("/nowhere/console.log"));
        console.read().unwrap();
        assert!(!console.handed_over());
        assert_eq!(last_lines(Path::new("/nowhere/console.log"), 3), Vec::<String>::new());
    }

    #[test]
    fn the_last_lines_leave_out_blank_ones() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"one\n\ntwo\r\nthree\n").unwrap();
        assert_eq!(last_lines(log.path(), 2), ["two", "three"]);
    }
}
