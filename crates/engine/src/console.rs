//! Reading a VM's console log as it grows.

use banger_core::guest::{Stage, StageLine};
use banger_host::raw_log::{HEAD, TAIL};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The longest line that is kept; the rest of a longer one is dropped.
const LINE_MAX: usize = 4096;
/// How much of the log's end is looked at for its last lines.
const TAIL_BYTES: u64 = 16 * 1024;

/// What a kernel says last. A VMM does not end with it after `halt`, nor Firecracker's on x86 after
/// `poweroff`: it has no device for that, which newer kernels say.
const DOWN: [&str; 3] = [
    "reboot: Power down",
    "reboot: System halted",
    "reboot: Power off not available: System halted instead",
];

/// What the console has said in the boot that the log is of.
#[derive(Debug)]
pub(crate) struct Console {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
    stage: Option<Stage>,
    trouble: Option<String>,
    is_down: bool,
}

impl Console {
    /// Reads the log from its start, which is that of a boot. It need not be there yet.
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
            partial: Vec::new(),
            stage: None,
            trouble: None,
            is_down: false,
        }
    }

    /// The log's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes in what is new. A log that is not there yet has nothing new. Of a log that grows
    /// faster than it is read, what is not kept is not read either.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        self.read_to(&file, length.min(HEAD))?;
        let kept = length.saturating_sub(TAIL);
        if self.offset < kept {
            self.offset = kept;
            self.partial.clear();
        }
        self.read_to(&file, length)
    }

    fn read_to(&mut self, file: &File, end: u64) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        while self.offset < end {
            let left = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
            let most = chunk.len().min(left);
            let count = file.read_at(&mut chunk[..most], self.offset)?;
            if count == 0 {
                return Ok(());
            }
            self.offset += u64::try_from(count).expect("a chunk is small");
            self.take(&chunk[..count]);
        }
        Ok(())
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
        if line.trim_end().is_empty() {
            return;
        }
        self.is_down = says_down(line);
        if let Some(found) = StageLine::parse(line) {
            if found.stage == Stage::Failed {
                self.trouble = found.detail.error;
            }
            self.stage = Some(found.stage);
        } else if let Some((_, panic)) = line.split_once("Kernel panic - not syncing: ") {
            self.trouble = Some(format!("the guest kernel panicked: {}", panic.trim_end()));
        }
    }

    /// Whether banger-init has handed over.
    pub(crate) fn handed_over(&self) -> bool {
        self.stage == Some(Stage::Handover)
    }

    /// Whether the last word is a kernel's that has brought its machine down.
    pub(crate) fn is_down(&self) -> bool {
        self.is_down && self.partial.is_empty()
    }

    /// What went wrong in the guest, in its own words.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// Whether a line is a kernel's last.
pub(crate) fn says_down(line: &str) -> bool {
    DOWN.iter().any(|words| line.trim_end().ends_with(words))
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
    fn stages_are_followed_over_torn_reads() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::open(log.path());
        let mut say = |console: &mut Console, text: &str| {
            log.write_all(text.as_bytes()).unwrap();
            console.read().unwrap();
        };
        say(&mut console, "[ 0.1] Linux\nbanger-init: start {\"uptime_ms\":1}\nbanger-init: hand");
        assert!(!console.handed_over());
        say(&mut console, "over {\"uptime_ms\":2}\r\nDebian login:");
        assert!(console.handed_over());
        assert_eq!(console.trouble(), None);
        say(&mut console, "\nbanger-init: failed {\"uptime_ms\":3,\"error\":\"no root\"}\n");
        assert!(!console.handed_over());
        assert_eq!(console.trouble(), Some("no root"));
        say(&mut console, "[ 2.0] Kernel panic - not syncing: Attempted to kill init!\n");
        assert_eq!(console.trouble(), Some("the guest kernel panicked: Attempted to kill init!"));
    }

    #[test]
    fn a_long_log_is_read_at_its_start_and_at_its_end() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"banger-init: handover {\"uptime_ms\":2}\n").unwrap();
        // A hole, as the middle of a log that was cut.
        log.as_file().set_len(1 << 40).unwrap();
        let mut console = Console::open(log.path());
        console.read().unwrap();
        assert!(console.handed_over());
        let end = b"\n[ 99.0] Kernel panic - not syncing: Fatal exception\n";
        log.as_file().write_all_at(end, 1 << 40).unwrap();
        console.read().unwrap();
        assert_eq!(console.trouble(), Some("the guest kernel panicked: Fatal exception"));
    }

    #[test]
    fn a_kernel_that_is_down_says_nothing_more() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::open(log.path());
        let mut after = |text: &str| {
            log.write_all(text.as_bytes()).unwrap();
            console.read().unwrap();
            console.is_down()
        };
        assert!(!after("[ 9.0] reboot: System halted"), "the line may go on");
        assert!(after("\r\n"));
        assert!(after("\r\n"), "a blank line says nothing");
        assert!(!after("otter"));
        assert!(!after(" login:\n[ 9.1] reboot: Restarting system\n"));
        assert!(after("[ 9.2] reboot: Power off not available: System halted instead\n"));
    }

    #[test]
    fn a_missing_log_is_an_empty_one() {
        let mut console = Console::open(Path::new("/nowhere/console.log"));
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
