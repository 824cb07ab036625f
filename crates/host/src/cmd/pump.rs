//! Follows one running program: feeds it, reads it, and ends it when its time is up.
//!
//! One thread polls the three pipes and a pidfd, so neither side can block the other.

use super::{CmdError, LineSink, Output};
use crate::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many lines of standard error are kept.
const TAIL_LINES: usize = 20;
/// A line of standard error is cut here.
const LINE_MAX: usize = 4096;
/// How often the cancel flag is read.
const TICK: Duration = Duration::from_millis(50);
/// How long a killed program may take to be gone; one that waits for a disk can take for ever.
const GRACE: Duration = Duration::from_secs(5);

/// The conversation with one program.
pub(super) struct Pump<'a> {
    pub(super) argv: &'a [String],
    pub(super) start: Instant,
    pub(super) timeout: Duration,
    pub(super) cancel: &'a AtomicBool,
    pub(super) input: Vec<u8>,
}

/// Why a program was ended before its own end.
enum Stop {
    Deadline,
    Cancelled,
}

impl Pump<'_> {
    pub(super) fn run(
        mut self,
        mut child: Child,
        on_line: Option<LineSink<'_>>,
    ) -> Result<Output, CmdError> {
        let mut tail = Tail::new(on_line);
        let mut stdout = Vec::new();
        let outcome = self.follow(&mut child, &mut stdout, &mut tail);
        if !matches!(outcome, Ok(None)) {
            end_group(&mut child);
        }
        tail.finish();
        let argv = || self.argv.to_vec();
        match outcome {
            Err(source) => return Err(CmdError::Pipe { argv: argv(), source }),
            Ok(Some(Stop::Cancelled)) => return Err(CmdError::Cancelled { argv: argv() }),
            Ok(Some(Stop::Deadline)) => {
                let (limit, stderr_tail) = (self.timeout, tail.text());
                return Err(CmdError::TimedOut { argv: argv(), limit, stderr_tail });
            }
            Ok(None) => {}
        }
        let status = child.wait().map_err(|source| CmdError::Pipe { argv: argv(), source })?;
        if status.success() {
            let elapsed = self.start.elapsed();
            return Ok(Output { stdout, stderr_tail: tail.text(), elapsed });
        }
        Err(CmdError::Failed { argv: argv(), exit: exit(status), stderr_tail: tail.text() })
    }

    /// Moves bytes until the program ends (`None`) or has to be ended.
    fn follow(
        &mut self,
        child: &mut Child,
        stdout: &mut Vec<u8>,
        tail: &mut Tail<'_>,
    ) -> io::Result<Option<Stop>> {
        let pidfd = pidfd(child)?;
        let mut input = Input::new(child.stdin.take(), std::mem::take(&mut self.input))?;
        let mut out = Source::new(child.stdout.take())?;
        let mut err = Source::new(child.stderr.take())?;
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Ok(Some(Stop::Cancelled));
            }
            let Some(left) = self.timeout.checked_sub(self.start.elapsed()) else {
                return Ok(Some(Stop::Deadline));
            };
            let ended = wait(&pidfd, &input, [out.fd(), err.fd()], left.min(TICK))?;
            input.write()?;
            out.read(|bytes| stdout.extend_from_slice(bytes))?;
            err.read(|bytes| tail.push(bytes))?;
            if ended {
                return Ok(None);
            }
        }
    }
}

/// Waits until something can be done; true if the program has ended.
fn wait(
    pidfd: &OwnedFd,
    input: &Input,
    sources: [Option<BorrowedFd<'_>>; 2],
    limit: Duration,
) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
    fds.extend(sources.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    fds.extend(input.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
    let limit = Timespec::try_from(limit).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
    match poll(&mut fds, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(errno) => Err(errno.into()),
    }
}

fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    Ok(pidfd_open(pid(child)?, PidfdFlags::empty())?)
}

fn pid(child: &Child) -> io::Result<Pid> {
    let raw = i32::try_from(child.id()).map_err(|_too_large| io::ErrorKind::InvalidData)?;
    Ok(Pid::from_raw(raw).ok_or(io::ErrorKind::InvalidData)?)
}

/// Kills the program's process group and reaps the program if it goes in time.
fn end_group(child: &mut Child) {
    // It has not been reaped, so the group's id is still its own.
    let killed = pid(child).and_then(|pid| Ok(kill_process_group(pid, Signal::KILL)?));
    let gone = killed.and_then(|()| {
        let fd = pidfd(child)?;
        let grace = Timespec::try_from(GRACE).map_err(|_too_long| io::ErrorKind::InvalidInput)?;
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&grace))?;
        child.try_wait()
    });
    match gone {
        Ok(Some(_status)) => {}
        Ok(None) => tracing::warn!(pid = child.id(), "a killed program does not end"),
        Err(error) => tracing::warn!(pid = child.id(), %error, "could not end a program"),
    }
}

pub(super) fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

/// What is still to be written to the program.
struct Input {
    pipe: Option<ChildStdin>,
    bytes: Vec<u8>,
    done: usize,
}

impl Input {
    fn new(pipe: Option<ChildStdin>, bytes: Vec<u8>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            set_nonblocking(pipe)?;
        }
        Ok(Self { pipe, bytes, done: 0 })
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(pipe) = &mut self.pipe {
            match pipe.write(&self.bytes[self.done..]) {
                Ok(count) => self.done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The program may do without the rest; its exit code says whether it did.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.pipe = None,
                Err(error) => return Err(error),
            }
            if self.done == self.bytes.len() {
                self.pipe = None;
            }
        }
        Ok(())
    }
}

/// One of the program's outputs; closed once its end was read.
struct Source<R> {
    pipe: Option<R>,
}

impl<R: Read + AsFd> Source<R> {
    fn new(pipe: Option<R>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            set_nonblocking(pipe)?;
        }
        Ok(Self { pipe })
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Hands on all that is there now.
    fn read(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => sink(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The last lines of standard error, each shown to the sink as it is complete.
struct Tail<'a> {
    lines: VecDeque<String>,
    partial: Vec<u8>,
    on_line: Option<LineSink<'a>>,
}

impl<'a> Tail<'a> {
    fn new(on_line: Option<LineSink<'a>>) -> Self {
        Self { lines: VecDeque::new(), partial: Vec::new(), on_line }
    }

    fn push(&mut self, bytes: &[u8]) {
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = chunk.strip_suffix(b"\n");
            let bytes = text.unwrap_or(chunk);
            let room = LINE_MAX.saturating_sub(self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..room]);
            if text.is_some() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if let Some(sink) = &mut self.on_line {
            sink(&line);
        }
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }

    fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_and_cuts_long_ones() {
        let mut seen = 0;
        let mut tail = Tail::new(Some(Box::new(|_line| seen += 1)));
        for n in 0..30 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        tail.push(&vec![b'x'; 3 * LINE_MAX]);
        tail.finish();
        assert_eq!(tail.lines.len(), TAIL_LINES);
        assert_eq!(tail.lines[0], "line 11");
        assert_eq!(tail.lines[TAIL_LINES - 1].len(), LINE_MAX);
        drop(tail);
        assert_eq!(seen, 31);
    }
}
