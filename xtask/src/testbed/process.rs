//! A process of the testbed that another task started: known by its id and start time.

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A process. Ids are used again, the pair is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Since boot, in clock ticks.
    start: u64,
}

impl Process {
    /// The process that has this id now.
    pub(super) fn of(pid: Pid) -> Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        let start = stat_field(pid, START).with_context(|| format!("there is no process {pid}"))?;
        Ok(Self { pid, start })
    }

    /// How many clock ticks of processor time it has had.
    pub(super) fn ticks(self) -> u64 {
        let field = |field| stat_field(self.pid, field).unwrap_or(0);
        field(USER) + field(SYSTEM)
    }

    /// Asks it to end, waits so long, kills it, and waits again. One that is gone is a success.
    pub(super) fn end(self, patience: Duration) -> Result<()> {
        let Some(held) = self.hold()? else { return Ok(()) };
        for signal in [Signal::TERM, Signal::KILL] {
            match pidfd_send_signal(&held, signal) {
                Ok(()) => {}
                Err(Errno::SRCH) => return Ok(()),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot signal {}", self.pid));
                }
            }
            if has_ended(&held, patience)? {
                return Ok(());
            }
        }
        bail!("process {} does not end", self.pid)
    }

    fn hold(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let held = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            other => other.with_context(|| format!("cannot watch process {}", self.pid))?,
        };
        // Looked at after it is held, so that what is seen is true of what is held.
        Ok((stat_field(self.pid, START) == Some(self.start)).then_some(held))
    }
}

/// Waits through signals; which of them ask this task to end is seen elsewhere.
fn has_ended(held: &OwnedFd, patience: Duration) -> Result<bool> {
    let limit = Timespec::try_from(patience).context("such a long wait is not possible")?;
    loop {
        match poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&limit)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for a process"),
        }
    }
}

/// The numbers of fields as in proc_pid_stat(5).
const USER: usize = 14;
const SYSTEM: usize = 15;
const START: usize = 22;

fn stat_field(pid: i32, field: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may have anything in it.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(field - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::Cmd;

    #[test]
    fn a_process_is_ended_and_one_with_its_id_only_is_not() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let running = Cmd::new("sleep").arg("60").spawn_to(&log).unwrap();
        let process = Process::of(running.pid()).unwrap();
        let namesake = Process { start: process.start + 1, ..process };
        namesake.end(Duration::from_secs(5)).unwrap();
        assert!(!running.wait_for(Duration::ZERO).unwrap());
        process.end(Duration::from_secs(5)).unwrap();
        assert!(running.wait_for(Duration::from_secs(5)).unwrap());
        drop(running);
        process.end(Duration::from_secs(5)).unwrap();
        fs::remove_file(log).unwrap();
    }
}
