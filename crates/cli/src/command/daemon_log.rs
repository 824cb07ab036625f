//! `banger daemon logs` and `log-level`.

use super::Session;
use crate::args::{DaemonLogsArgs, LogLevelArgs};
use crate::connect::surroundings;
use crate::failure::Failure;
use crate::output::Format;
use crate::render::log::{Wanted, text};
use banger_api::{ErrorBody, LogLevelStatus, SetLogLevel};
use banger_core::dirs::Dirs;
use banger_core::error::ErrorCode;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the daemon's log in the state directory.
const LOG_NAME: &str = "bangerd.log";
/// How many older logs a daemon keeps, `bangerd.log.1` the youngest.
const OLDER: u32 = 4;
/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Shows the log, whether or not a daemon runs: one that does not start is best understood by it.
pub(super) async fn logs(session: &Session<'_>, args: &DaemonLogsArgs) -> Result<(), Failure> {
    let path = log_file(session).await?;
    if args.path {
        return session.output.text(&format!("{}\n", path.display()));
    }
    let wanted = args.wanted();
    let mut log = Log::open(&path).map_err(|error| unreadable(&path, &error))?;
    let mut last = VecDeque::new();
    for line in older(&path).chain(std::iter::from_fn(|| log.next_line().transpose())) {
        let line = line.map_err(|error| unreadable(&path, &error))?;
        if wanted.fits(&line) {
            last.push_back(line);
            if last.len() > args.lines {
                last.pop_front();
            }
        }
    }
    for line in &last {
        show(session, line)?;
    }
    if args.follow { follow(session, &path, log, &wanted).await } else { Ok(()) }
}

/// A log that grows.
struct Log {
    reader: BufReader<File>,
    /// What there is of a line that is not complete.
    torn: String,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), torn: String::new() })
    }

    /// The next whole line.
    fn next_line(&mut self) -> io::Result<Option<String>> {
        self.reader.read_line(&mut self.torn)?;
        if !self.torn.ends_with('\n') {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.torn);
        line.pop();
        Ok(Some(line))
    }

    /// Whether the path still names it.
    fn is_at(&self, path: &Path) -> bool {
        match (self.reader.get_ref().metadata(), path.metadata()) {
            (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
            _ => true,
        }
    }
}

/// The lines of the older logs, the oldest first.
fn older(path: &Path) -> impl Iterator<Item = io::Result<String>> {
    let numbered = |number: u32| path.with_extension(format!("log.{number}"));
    let files = (1..=OLDER).rev().filter_map(move |number| File::open(numbered(number)).ok());
    files.flat_map(|file| BufReader::new(file).lines())
}

async fn follow(
    session: &Session<'_>,
    path: &Path,
    mut log: Log,
    wanted: &Wanted,
) -> Result<(), Failure> {
    loop {
        // Asked before the end is read, so that nothing is missed of a log that is put aside.
        let is_current = log.is_at(path);
        while let Some(line) = log.next_line().map_err(|error| unreadable(path, &error))? {
            if wanted.fits(&line) {
                show(session, &line)?;
            }
        }
        match Log::open(path) {
            Ok(new) if !is_current => log = new,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

fn show(session: &Session<'_>, line: &str) -> Result<(), Failure> {
    match session.output.format() {
        Format::Json => session.output.text(&format!("{line}\n")),
        Format::Text => session.output.text(&text(line)),
    }
}

fn unreadable(path: &Path, source: &io::Error) -> ErrorBody {
    let message = format!("the daemon's log `{}` cannot be read", path.display());
    let mut body = ErrorBody::plain(ErrorCode::Host, message);
    body.causes.push(source.to_string());
    body.hint("a daemon writes it when it starts: `banger daemon start`")
}

/// The daemon knows best where its log is; else it is where it would be.
async fn log_file(session: &Session<'_>) -> Result<PathBuf, Failure> {
    match session.door.client().daemon().await {
        Ok(status) => Ok(status.log_file),
        Err(_) => Ok(Dirs::resolve(&surroundings())?.state_dir.join(LOG_NAME)),
    }
}

/// Shows the level, or changes it. No daemon is started for that: a new one has the configured one.
pub(super) async fn level(session: &Session<'_>, args: &LogLevelArgs) -> Result<(), Failure> {
    let client = session.door.client();
    let status = match args.level {
        Some(level) => client.set_log_level(SetLogLevel { level, for_s: args.limit }).await?,
        None => client.log_level().await?,
    };
    session.output.answer(&status, level_text)
}

fn level_text(status: &LogLevelStatus) -> String {
    let LogLevelStatus { level, configured, back_in_s } = status;
    match back_in_s {
        Some(seconds) => format!("{level}, and `{configured}` again in {seconds} s\n"),
        None if level == configured => format!("{level}, as configured\n"),
        None => format!("{level}, until the daemon ends; configured is `{configured}`\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    #[test]
    fn older_logs_come_first_and_a_torn_line_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG_NAME);
        fs::write(&path, "three\nfo").unwrap();
        fs::write(dir.path().join("bangerd.log.1"), "two\n").unwrap();
        fs::write(dir.path().join("bangerd.log.2"), "one\n").unwrap();
        let mut log = Log::open(&path).unwrap();
        let before: Vec<String> = older(&path).map(Result::unwrap).collect();
        assert_eq!(before, ["one", "two"]);
        assert_eq!(log.next_line().unwrap().as_deref(), Some("three"));
        assert_eq!(log.next_line().unwrap(), None);
        let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(b"ur\n").unwrap();
        assert_eq!(log.next_line().unwrap().as_deref(), Some("four"));
        assert!(log.is_at(&path));
        fs::rename(&path, dir.path().join("bangerd.log.1")).unwrap();
        fs::write(&path, "").unwrap();
        assert!(!log.is_at(&path));
    }
}
