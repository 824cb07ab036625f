//! A build's own log: what its guest says, raw and bounded, and what of it is shown while it comes.

use crate::error::EngineError;
use crate::operation::{LineSender, MORE};
use banger_core::error::{chain, fault};
use banger_core::id::OpId;
use banger_host::raw_log;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many logs are kept. With each at its longest that is 30 MiB.
const KEPT: usize = 20;
/// How much is written between two looks at the log's length.
const STRETCH: usize = 256 << 10;
/// How many lines are shown within one window. A script can print without end, and a terminal shows no
/// more to a person; the log has every line.
const WINDOW: Duration = Duration::from_secs(1);
const SHOWN: usize = 100;

/// The file.
#[derive(Debug)]
pub(super) struct BuildLog {
    path: PathBuf,
    file: File,
}

impl BuildLog {
    /// Begins a log; of more than a few, the oldest go.
    pub(super) fn create(state_dir: &Path, op: &OpId) -> Result<Self, EngineError> {
        let dir = builds_dir(state_dir);
        let path = dir.join(format!("{op}.log"));
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(EngineError::file("create", &dir))?;
        prune(&dir);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path);
        Ok(Self { file: file.map_err(EngineError::file("create", &path))?, path })
    }

    /// Removes it. That of a build that was refused says nothing.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "an empty log stays");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line. A log that cannot be written does not end a build.
    fn append(&self, line: &str) {
        if let Err(error) = (&self.file).write_all(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, path = %self.path.display(), "the build's log has gaps");
        }
    }

    fn bound(&self) {
        if let Err(error) = raw_log::bound(&self.path) {
            tracing::warn!(error = fault(&error), "the build's log may grow without bound");
        }
    }

    /// Writes why the build ended, and what the console said last.
    pub(super) fn append_end(&self, error: &EngineError, console: &[String]) {
        self.append(&format!("[banger: {}]", chain(error)));
        if !console.is_empty() {
            self.append("[banger: the console's last lines]");
            console.iter().for_each(|line| self.append(line));
        }
        self.bound();
    }
}

/// Where a guest's lines go.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    log: &'a BuildLog,
    sender: LineSender,
    written: usize,
    window: Instant,
    shown: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(log: &'a BuildLog, sender: LineSender) -> Self {
        Self { log, sender, written: 0, window: Instant::now(), shown: 0 }
    }

    /// Writes a line to the log, and shows it unless there are too many.
    pub(super) fn take(&mut self, line: &str) {
        self.log.append(line);
        self.written += line.len() + 1;
        if self.written >= STRETCH {
            self.written = 0;
            self.log.bound();
        }
        if self.window.elapsed() >= WINDOW {
            (self.window, self.shown) = (Instant::now(), 0);
        }
        self.shown += 1;
        match self.shown {
            ..=SHOWN => self.sender.send(line),
            shown if shown == SHOWN + 1 => self.sender.send(MORE),
            _ => {}
        }
    }
}

/// Where builds have what stays of them.
pub(super) fn builds_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("builds")
}

/// Removes all logs but the newest.
fn prune(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "log"));
    let dated = entries.filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())));
    let mut all: Vec<_> = dated.collect();
    all.sort();
    for (_, path) in &all[..all.len().saturating_sub(KEPT - 1)] {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, path = %path.display(), "an old log stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measures;
    use crate::operation::{Progress, Reporter};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_guest_that_prints_without_end_fills_neither_disk_nor_memory() {
        let state = tempfile::tempdir().unwrap();
        let log = BuildLog::create(state.path(), &OpId::from_entropy(1)).unwrap();
        let (report, mut operation) = Reporter::new(OpId::from_entropy(1), Measures::default());
        let mut lines = Lines::new(&log, report.lines());
        let line = "y".repeat(1000);
        (0..8000).for_each(|_| lines.take(&line));
        let took_windows = lines.window.elapsed().as_secs() + 9;
        let meta = fs::metadata(log.path()).unwrap();
        assert_eq!(meta.len(), 8_008_000);
        assert!(meta.blocks() * 512 < 3 << 20, "{} blocks", meta.blocks());
        let mut shown = 0;
        while let Ok(Progress::Line(_)) = operation.progress.try_recv() {
            shown += 1;
        }
        assert!(shown > 100 && shown <= 101 * took_windows, "{shown}");
    }

    #[test]
    fn only_the_newest_logs_are_kept() {
        let state = tempfile::tempdir().unwrap();
        for number in 0..30 {
            BuildLog::create(state.path(), &OpId::from_entropy(number)).unwrap();
        }
        assert_eq!(fs::read_dir(state.path().join("builds")).unwrap().count(), KEPT);
    }
}
