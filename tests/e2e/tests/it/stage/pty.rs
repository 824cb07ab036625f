//! A terminal with somebody who types at it.

use super::program::Running;
use super::site::Site;
use super::transcript::Transcript;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// The size that the other side should see.
pub(crate) const ROWS: u16 = 33;
/// The size that the other side should see.
pub(crate) const COLUMNS: u16 = 111;

/// A program on a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    keyboard_and_screen: File,
    running: Running,
    /// What was shown and not yet asked for.
    fresh: String,
    /// All that was shown.
    shown: String,
}

impl Terminal {
    /// Starts `banger` on a terminal of its own, as the leader of a session.
    pub(crate) fn open(site: &Site, args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let call = site.call_through(&["setsid", "--ctty", "--wait"], args);
        let running = call.start_on(&File::from(theirs));
        let (fresh, shown) = (String::new(), String::new());
        Self { keyboard_and_screen: File::from(ours), running, fresh, shown }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.keyboard_and_screen.write_all(format!("{line}\r").as_bytes()).unwrap();
    }

    /// Types Ctrl and a letter.
    pub(crate) fn type_control(&mut self, letter: u8) {
        self.keyboard_and_screen.write_all(&[letter & 0x1f]).unwrap();
    }

    /// Waits until a text is shown; what came before it counts as read.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            if let Some((_, rest)) = self.fresh.split_once(text) {
                self.fresh = rest.to_owned();
                return;
            }
            let more = self.read(deadline);
            assert!(more, "`{text}` does not come within {limit:?}; shown was:\n{}", self.shown);
        }
    }

    /// Waits for the program's end; returns what it came to and all that was shown.
    #[track_caller]
    pub(crate) fn close(mut self, limit: Duration) -> (Transcript, String) {
        let deadline = Instant::now() + limit;
        while self.read(deadline) {}
        (self.running.within(limit + Duration::from_secs(5)), self.shown)
    }

    /// Closes the terminal, as its window's end does, and waits for the program's.
    #[track_caller]
    pub(crate) fn hang_up(self, limit: Duration) -> Transcript {
        drop(self.keyboard_and_screen);
        self.running.within(limit)
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
        let text = String::from_utf8_lossy(&buffer[..count]);
        self.fresh.push_str(&text);
        self.shown.push_str(&text);
        count > 0
    }
}
