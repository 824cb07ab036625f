//! What a program costs: its time by the clock and on the processors.

use super::{Cmd, Echo, Running, check};
use anyhow::{Context, Result};
use std::io;
use std::ops::Add;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What one run of a program cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// From just before it was started until it was known to have ended.
    pub(crate) wall: Duration,
    /// The processor time of it and of what it waited for.
    pub(crate) cpu: Duration,
}

impl Cmd {
    /// Runs it with its output thrown away and says what it cost. Everything but exit code 0 is an
    /// error.
    pub(crate) fn measure(mut self) -> Result<Cost> {
        self.echo = Echo::Silent;
        let since = Instant::now();
        let running = self.start(Stdio::null(), Stdio::null())?;
        running.measure(since)
    }

    /// Runs it and another program that reads what it writes, and says what both cost together.
    /// Everything but exit code 0 of both is an error.
    pub(crate) fn measure_into(mut self, mut reader: Self) -> Result<Cost> {
        (self.echo, reader.echo) = (Echo::Silent, Echo::Silent);
        let (output, input) = io::pipe().context("cannot make a pipe")?;
        reader.input = Some(output.into());
        let since = Instant::now();
        let writing = self.start(input.into(), Stdio::null())?;
        let reading = reader.start(Stdio::null(), Stdio::null())?;
        let (written, read) = (writing.measure(since)?, reading.measure(since)?);
        Ok(Cost { wall: read.wall.max(written.wall), cpu: written.cpu + read.cpu })
    }
}

impl Add for Cost {
    type Output = Self;

    /// Of one after the other.
    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

impl Running {
    fn measure(mut self, since: Instant) -> Result<Cost> {
        self.wait_while_wanted()?;
        let ended = wait4(self.pid.as_raw_nonzero().get());
        let wall = since.elapsed();
        let (status, cpu) = ended.with_context(|| format!("cannot wait for `{}`", self.shown))?;
        check(&self.shown, status)?;
        Ok(Cost { wall, cpu })
    }
}

/// Collects a child that has ended. For the standard library it is then a stranger, whom waiting for
/// again does no harm.
fn wait4(pid: libc::pid_t) -> io::Result<(ExitStatus, Duration)> {
    let mut status = 0;
    // SAFETY: both pointers are to values of the right type that outlive the call; for the second
    // all zeros is valid.
    #[expect(unsafe_code, reason = "the standard library does not tell what a child used")]
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
    };
    if waited != pid {
        return Err(io::Error::last_os_error());
    }
    Ok((ExitStatus::from_raw(status), duration(usage.ru_utime) + duration(usage.ru_stime)))
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds)
        + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_costs_what_both_do() {
        let cost =
            |wall, cpu| Cost { wall: Duration::from_millis(wall), cpu: Duration::from_millis(cpu) };
        let both = cost(30, 4) + cost(12, 500);
        assert_eq!((both.wall, both.cpu), (Duration::from_millis(42), Duration::from_millis(504)));
    }

    #[test]
    fn a_reader_gets_all_that_is_written_and_both_have_to_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("numbers");
        let numbers = || Cmd::new("seq").arg("300000");
        numbers().silent().run_to(&file).unwrap();
        let compare = || Cmd::new("cmp").arg("-").arg(&file);
        numbers().measure_into(compare()).unwrap();
        let failed = Cmd::new("true").measure_into(compare());
        assert!(failed.unwrap_err().to_string().contains("`cmp - "));
        let failed = Cmd::new("false").measure_into(Cmd::new("cat"));
        assert!(failed.unwrap_err().to_string().contains("`false` failed"));
    }

    #[test]
    fn failure_is_an_error() {
        let error = Cmd::new("false").measure().unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
    }
}
