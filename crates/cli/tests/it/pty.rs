//! A program on a terminal of its own, with somebody who types.

use crate::program::on_terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal: the side of who sits before it, and the programs'.
pub(crate) fn sides() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    (ours.into(), theirs.into())
}

/// The program, and what it shows.
#[derive(Debug)]
pub(crate) struct Terminal {
    keyboard_and_screen: File,
    child: Child,
    shown: String,
}

impl Terminal {
    /// Starts a program as the leader of a session whose terminal this is.
    pub(crate) fn open(command: &mut Command) -> Self {
        let (ours, theirs) = sides();
        let file = || theirs.try_clone().unwrap();
        command.stdin(file()).stdout(file()).stderr(file());
        let child = on_terminal(command).spawn().unwrap();
        // The command still holds the other side, and the end would not be seen.
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Self { keyboard_and_screen: ours, child, shown: String::new() }
    }

    /// Types.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keyboard_and_screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is shown.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown.contains(text) {
            assert!(self.read(deadline), "`{text}` does not come; shown was:\n{}", self.shown);
        }
    }

    /// Waits for the program's end; how it ended, and all that was shown, with plain line ends.
    #[track_caller]
    pub(crate) fn close(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline) {}
        let ended = self.child.try_wait().unwrap();
        if ended.is_none() && Instant::now() >= deadline {
            self.child.kill().unwrap();
            panic!("it does not end; shown was:\n{}", self.shown);
        }
        (self.child.wait().unwrap(), self.shown.replace("\r\n", "\n"))
    }

    /// Reads what there is; `false` at the end, or when the time is up.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        let mut fds = [PollFd::new(&self.keyboard_and_screen, PollFlags::IN)];
        if poll(&mut fds, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        // When nobody has the other side open any more, the kernel says EIO.
        let count = self.keyboard_and_screen.read(&mut buffer).unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }
}
