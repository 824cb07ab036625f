//! VMM processes: started detached, found again, ended.
//!
//! A process is the VM's only if its pid, start time and boot id are those that were written down
//! and the API socket is among its arguments. All of it is checked after a pidfd was opened, so a
//! signal can reach no other process, however quickly pids are reused. A process whose identity was
//! never written (a crash between start and write) or was lost is found by its arguments.
//!
//! ```text
//! stale socket and identity removed → spawned → identity written → socket answers
//!                                        └── ended or silent: killed, reaped, both removed
//! ```

use super::reap::Exits;
use super::{file, proc};
use crate::changes::readable;
use crate::cmd::{Spawned, spawn_detached};
use crate::{Change, Exit, ExitFuture, HostError, ProcessView, Signal, raw_log};
use banger_core::resource::VmmProcess;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a VMM may take to open its API socket.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How often the socket is tried; a VMM takes some milliseconds.
const START_TICK: Duration = Duration::from_millis(1);
/// How long a killed process may take to be gone: the kernel frees a guest's memory first.
const KILL_LIMIT: Duration = Duration::from_secs(15);
/// How much of a dead VMM's output is read for its error, and how many lines are shown.
const TAIL_BYTES: u64 = 16 << 10;
const TAIL_LINES: usize = 20;
/// More processes than this for one VM are not of our making.
const MOST_COPIES: usize = 8;

/// What tells one process from every other, past and present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: u32,
    /// Since boot, in clock ticks.
    start_time: u64,
    boot_id: String,
}

/// A process that was found.
#[derive(Debug)]
struct Running {
    identity: Identity,
    pidfd: OwnedFd,
    stat: proc::Stat,
    life: Life,
}

/// How far a process that is still there has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It runs.
    Running,
    /// It was killed or has ended, and the kernel is still freeing what it holds: its memory and
    /// its arguments first, its disks and its TAP later.
    Exiting,
}

/// The VMM processes of the host.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    boot_id: OnceLock<String>,
    exits: Exits,
}

impl ProcessTable {
    pub(super) fn ensure(&self, vmm: &VmmProcess) -> Result<Change, HostError> {
        match self.locate(vmm)? {
            Some(Running { life: Life::Running, .. }) => return Ok(Change::Unchanged),
            Some(exiting) => self.see_off(&exiting, vmm)?,
            None => {}
        }
        let _stale = forget(vmm)?;
        let stdout = raw_log::begin(&vmm.stdout)?;
        // Firecracker opens this one by name and writes from its start: it has to be empty.
        let stderr = raw_log::begin(&vmm.stderr)?;
        let spawned = spawn_detached(&vmm.program, &vmm.args, stdout, stderr)
            .map_err(HostError::program("start the VMM for", vmm.api_socket.display()))?;
        let outcome = self.settle(vmm, &spawned);
        if outcome.is_err() {
            self.abandon(vmm, &spawned);
        }
        outcome.map(|()| Change::Changed)
    }

    pub(super) fn remove(&self, vmm: &VmmProcess) -> Result<Change, HostError> {
        let mut change = Change::Unchanged;
        for _ in 0..MOST_COPIES {
            let Some(running) = self.locate(vmm)? else {
                // Nobody else will do it now, and too long a log is no reason to keep the VM.
                if let Err(error) = raw_log::bound_both(vmm) {
                    tracing::warn!(%error, "the output of a VMM that has ended stays as long as it is");
                }
                return Ok(if forget(vmm)? == Change::Changed { Change::Changed } else { change });
            };
            self.kill(&running, vmm)?;
            change = Change::Changed;
        }
        Err(HostError::Refused {
            action: "end every VMM on",
            object: vmm.api_socket.display().to_string(),
            reason: format!("{MOST_COPIES} were ended and there are more"),
        })
    }

    pub(super) fn find(&self, vmm: &VmmProcess) -> Result<Option<ProcessView>, HostError> {
        let Some(Running { identity, stat, .. }) = self.locate(vmm)? else { return Ok(None) };
        Ok(Some(ProcessView {
            pid: identity.pid,
            resident: proc::resident(identity.pid),
            cpu: stat.cpu(),
        }))
    }

    pub(super) fn signal(&self, vmm: &VmmProcess, signal: Signal) -> Result<Change, HostError> {
        match self.locate(vmm)? {
            Some(running) => send(&running, signal, vmm),
            None => Ok(Change::Unchanged),
        }
    }

    pub(super) fn exited(&self, vmm: &VmmProcess) -> Result<ExitFuture, HostError> {
        let Some(Running { identity, pidfd, .. }) = self.locate(vmm)? else {
            let known =
                read_identity(&vmm.identity)?.and_then(|identity| self.exits.known(&identity));
            return Ok(Box::pin(std::future::ready(known.unwrap_or(Exit::Unknown))));
        };
        let pidfd =
            readable(pidfd).map_err(HostError::io("watch the VMM on", vmm.api_socket.display()))?;
        let exits = self.exits.clone();
        Ok(Box::pin(async move {
            while let Ok(mut ready) = pidfd.readable().await {
                if has_ended(pidfd.get_ref(), Duration::ZERO).unwrap_or(true) {
                    break;
                }
                ready.clear_ready();
            }
            exits.collect(pidfd.as_fd(), &identity)
        }))
    }

    /// The VM's process, if it runs. One that has ended is reaped on the way.
    fn locate(&self, vmm: &VmmProcess) -> Result<Option<Running>, HostError> {
        let failed = || HostError::io("look for the VMM on", vmm.api_socket.display());
        let boot_id = self.boot_id().map_err(failed())?;
        if let Some(known) = read_identity(&vmm.identity)?
            && known.boot_id == boot_id
            && let Some(running) = self.open(known.pid, boot_id, vmm).map_err(failed())?
            && running.identity == known
        {
            return Ok(Some(running));
        }
        for pid in proc::pids().map_err(failed())? {
            if proc::mentions(&proc::cmdline(pid), &vmm.api_socket)
                && let Some(running) = self.open(pid, boot_id, vmm).map_err(failed())?
                && proc::is_detached_and_ours(pid, running.stat)
            {
                return Ok(Some(running));
            }
        }
        Ok(None)
    }

    /// Takes hold of a process and then looks at it, so that what was seen is true of what is held.
    /// `None` for one that is over, or not the VM's by its arguments.
    fn open(&self, pid: u32, boot_id: &str, vmm: &VmmProcess) -> io::Result<Option<Running>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL and ENOENT: the number is that of a thread.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let Some(stat) = proc::stat(pid)? else { return Ok(None) };
        let start_time = stat.start_time;
        let identity = Identity { pid, start_time, boot_id: boot_id.to_owned() };
        if has_ended(&pidfd, Duration::ZERO)? {
            // Only a child can be waited for; for any other process this does nothing.
            self.exits.collect(pidfd.as_fd(), &identity);
            return Ok(None);
        }
        let cmdline = proc::cmdline(pid);
        // A first thread that has ended shows as a zombie while others run.
        let life = if stat.is_over() || cmdline.is_empty() {
            Life::Exiting
        } else if proc::mentions(&cmdline, &vmm.api_socket) {
            Life::Running
        } else {
            return Ok(None);
        };
        Ok(Some(Running { identity, pidfd, stat, life }))
    }

    /// Writes down who was started and waits for it to answer.
    fn settle(&self, vmm: &VmmProcess, spawned: &Spawned) -> Result<(), HostError> {
        let identity = self
            .identify(spawned)
            .map_err(HostError::io("identify the VMM on", vmm.api_socket.display()))?;
        write_identity(&vmm.identity, &identity)?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if UnixStream::connect(&vmm.api_socket).is_ok() {
                return Ok(());
            }
            let ended = has_ended(&spawned.pidfd, START_TICK)
                .map_err(HostError::io("wait for", vmm.program.display()))?;
            if ended {
                return Err(HostError::VmmDied {
                    program: vmm.program.clone(),
                    exit: self.exits.collect(spawned.pidfd.as_fd(), &identity),
                    log_tail: log_tail(&vmm.stderr),
                    log_path: vmm.stderr.clone(),
                });
            }
            if Instant::now() > deadline {
                return Err(HostError::VmmSilent {
                    program: vmm.program.clone(),
                    seconds: START_LIMIT.as_secs(),
                    log_path: vmm.stderr.clone(),
                });
            }
        }
    }

    fn identify(&self, spawned: &Spawned) -> io::Result<Identity> {
        // It is our child and not reaped, so even if it has ended it is still there.
        let stat = proc::stat(spawned.pid)?.ok_or(io::ErrorKind::NotFound)?;
        let boot_id = self.boot_id()?.to_owned();
        Ok(Identity { pid: spawned.pid, start_time: stat.start_time, boot_id })
    }

    /// Ends a process that did not come up, and its traces. It is our child, so it needs no check.
    fn abandon(&self, vmm: &VmmProcess, spawned: &Spawned) {
        let _gone_already = pidfd_send_signal(&spawned.pidfd, rustix::process::Signal::KILL);
        match has_ended(&spawned.pidfd, KILL_LIMIT) {
            Ok(true) => match self.identify(spawned) {
                Ok(identity) => drop(self.exits.collect(spawned.pidfd.as_fd(), &identity)),
                Err(error) => tracing::debug!(%error, "already reaped"),
            },
            outcome => tracing::warn!(pid = spawned.pid, ?outcome, "a killed VMM does not end"),
        }
        if let Err(error) = forget(vmm) {
            tracing::warn!(%error, "traces of a VMM that did not start are left");
        }
    }

    fn kill(&self, running: &Running, vmm: &VmmProcess) -> Result<(), HostError> {
        let _sent_or_gone = send(running, Signal::KILL, vmm)?;
        self.see_off(running, vmm)
    }

    /// Waits until a process that has been killed or is exiting is gone, and reaps it.
    fn see_off(&self, running: &Running, vmm: &VmmProcess) -> Result<(), HostError> {
        let ended = has_ended(&running.pidfd, KILL_LIMIT)
            .map_err(HostError::io("wait for the end of the VMM on", vmm.api_socket.display()))?;
        if ended {
            self.exits.collect(running.pidfd.as_fd(), &running.identity);
            return Ok(());
        }
        Err(HostError::Refused {
            action: "end the VMM on",
            object: vmm.api_socket.display().to_string(),
            reason: format!(
                "process {} is still there after {} s",
                running.identity.pid,
                KILL_LIMIT.as_secs()
            ),
        })
    }

    fn boot_id(&self) -> io::Result<&str> {
        if let Some(known) = self.boot_id.get() {
            return Ok(known);
        }
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(self.boot_id.get_or_init(|| text.trim().to_owned()))
    }
}

/// Removes what is left of a process that does not run.
fn forget(vmm: &VmmProcess) -> Result<Change, HostError> {
    let socket = file::unlink(&vmm.api_socket)?;
    let identity = file::remove(&vmm.identity)?;
    Ok(if socket == Change::Changed { socket } else { identity })
}

fn send(running: &Running, signal: Signal, vmm: &VmmProcess) -> Result<Change, HostError> {
    // SAFETY: a `Signal` is 1 to 64, all of which the kernel takes; it is sent, not handled here.
    #[expect(unsafe_code, reason = "real-time signals have no name in rustix")]
    let raw = unsafe { rustix::process::Signal::from_raw_unchecked(signal.number()) };
    match pidfd_send_signal(&running.pidfd, raw) {
        Ok(()) => Ok(Change::Changed),
        Err(Errno::SRCH) => Ok(Change::Unchanged),
        Err(errno) => {
            Err(HostError::io("send a signal to the VMM on", vmm.api_socket.display())(errno))
        }
    }
}

/// Waits for the process's end, at most for `limit`.
fn has_ended(pidfd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What was written down; `None` if nothing was or it cannot be read as an identity.
fn read_identity(path: &Path) -> Result<Option<Identity>, HostError> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("read", path.display())(error)),
    }
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), HostError> {
    let text = serde_json::to_vec(identity).expect("numbers and a text can be written as JSON");
    file::write_whole(path, |file, part| {
        file.write_all(&text).map_err(HostError::io("write", part.display()))
    })
}

/// The last lines of a log.
fn log_tail(path: &Path) -> Vec<String> {
    let read = File::open(path).and_then(|mut log| {
        let end = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        log.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let text = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines[skipped..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_has_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (0..30).map(|n| format!("line {n}")).collect();
        fs::write(&path, format!("{}\n\n", lines.join("\n"))).unwrap();
        assert_eq!(log_tail(&path), lines[10..]);
        assert!(log_tail(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmm.json");
        assert_eq!(read_identity(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(read_identity(&path).unwrap(), None);
        let identity = Identity { pid: 1, start_time: 2, boot_id: "b".into() };
        write_identity(&path, &identity).unwrap();
        assert_eq!(read_identity(&path).unwrap(), Some(identity));
    }
}
