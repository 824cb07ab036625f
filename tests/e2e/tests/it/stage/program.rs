//! The one place that starts programs. Each has a deadline, and none outlives its handle.
//!
//! Output goes to files and not into pipes: so a daemon that inherited a descriptor cannot make a
//! test wait for it.

use super::transcript::Transcript;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a tool of the system may take.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// The door.
#[expect(clippy::disallowed_methods, reason = "tests run programs as a user would")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

/// A program to be started.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    shown: String,
}

impl Call {
    /// A program by path, or by name along `PATH`.
    pub(crate) fn new(program: impl AsRef<Path>, args: &[&str]) -> Self {
        let program = program.as_ref();
        let mut command = command(program);
        command.args(args).stdin(Stdio::null());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            command,
            shown: std::iter::once(name.as_str())
                .chain(args.iter().copied())
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    /// Gives it this environment and nothing else.
    pub(crate) fn only_env(mut self, env: &[(String, String)]) -> Self {
        self.command.env_clear().envs(env.iter().cloned());
        self
    }

    /// What it reads.
    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        self.command.stdin(file);
        self
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        self.command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        self.spawn(out, err)
    }

    /// Starts it with this as its standard input, output and error.
    #[track_caller]
    pub(crate) fn start_on(mut self, terminal: &File) -> Running {
        let file = || terminal.try_clone().unwrap();
        self.command.stdin(file()).stdout(file()).stderr(file());
        let none = || tempfile::tempfile().unwrap();
        self.spawn(none(), none())
    }

    #[track_caller]
    fn spawn(mut self, out: File, err: File) -> Running {
        let child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("`{}` cannot be started: {error}", self.shown),
        };
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let Self { shown, .. } = self;
        Running { child, pidfd, out, err, shown, since: Instant::now() }
    }
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pidfd: OwnedFd,
    out: File,
    err: File,
    shown: String,
    since: Instant,
}

impl Running {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// What it has written to its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        text(&self.out)
    }

    /// Waits for its end, at most until the limit, which counts from its start.
    #[track_caller]
    pub(crate) fn within(mut self, limit: Duration) -> Transcript {
        let in_time = has_ended(&self.pidfd, limit.saturating_sub(self.since.elapsed()));
        if !in_time {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        let transcript = Transcript {
            shown: self.shown.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: text(&self.out),
            stderr: text(&self.err),
            took: self.since.elapsed(),
        };
        transcript.note();
        assert!(in_time, "it has not ended within {limit:?} and was killed:\n{transcript}");
        transcript
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a wait both do nothing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a tool of the system, which has to succeed, and returns what it wrote.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[&str]) -> String {
    let transcript = Call::new(name, args).start().within(TOOL_LIMIT);
    transcript.ok().to_owned()
}

/// Waits for a process's end.
pub(super) fn has_ended(pidfd: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("a process cannot be waited for: {error}"),
        }
    }
}

/// The whole file, without moving the offset that its writer shares.
fn text(file: &File) -> String {
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
