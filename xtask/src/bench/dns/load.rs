//! Many queries at once, by `dnsperf`, and what they cost the server.

use super::{Known, Server};
use crate::cmd::Cmd;
use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// For how long each server is asked in a round.
const SECONDS: &str = "3";
/// How many queries are outstanding.
const OUTSTANDING: &str = "100";

/// What came of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Answers in a second.
    pub(super) rate: f64,
    /// Queries without an answer.
    pub(super) lost: u64,
    /// The server's processor time for each query, in microseconds: its own, and the kernel's.
    pub(super) user: f64,
    pub(super) system: f64,
}

/// Writes the names as `dnsperf` reads them.
pub(super) fn write_queries(names: &[Known], dir: &Path) -> Result<PathBuf> {
    let path = dir.join("queries");
    let mut text = String::new();
    for Known { name, .. } in names {
        writeln!(text, "{name}.vm A")?;
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Asks for all names, again and again.
pub(super) fn run(server: Server, queries: &Path) -> Result<Load> {
    let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
    let before = processor_time(server.pid)?;
    let said = Cmd::new("dnsperf")
        .args(["-s", &ip, "-p", &port, "-l", SECONDS, "-q", OUTSTANDING, "-d"])
        .arg(queries)
        .silent()
        .timeout(Duration::from_secs(60))
        .read()?;
    let after = processor_time(server.pid)?;
    let completed: f64 = figure(&said, "Queries completed:")?;
    let each = |ticks: u64| ticks as f64 * 1e6 / clock_ticks_per_second() as f64 / completed;
    Ok(Load {
        rate: figure(&said, "Queries per second:")?,
        lost: figure(&said, "Queries lost:")?,
        user: each(after.0 - before.0),
        system: each(after.1 - before.1),
    })
}

/// The number that follows a title.
fn figure<T: FromStr>(said: &str, title: &str) -> Result<T> {
    let found = said.lines().find_map(|line| line.trim().strip_prefix(title));
    let number = found.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    number.with_context(|| format!("`dnsperf` tells no `{title}`"))
}

/// What a process has used in its own code and in the kernel, in the kernel's ticks
/// (proc_pid_stat(5), fields 14 and 15).
fn processor_time(pid: Pid) -> Result<(u64, u64)> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ticks(&text).with_context(|| format!("cannot understand {path}"))
}

fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The second field, the name, may have spaces in it, and ends with the last bracket.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_titles() {
        let said = "Statistics:\n\n  Queries sent:         10\n  Queries completed:    9 (90.00%)\n  \
                    Queries lost:         1 (10.00%)\n\n  Queries per second:   108123.456\n";
        assert_eq!(figure(said, "Queries completed:").ok(), Some(9_u64));
        assert_eq!(figure(said, "Queries per second:").ok(), Some(108_123.456_f64));
        assert!(figure::<u64>(said, "Queries").is_err());
    }

    #[test]
    fn the_ticks_of_a_process_with_any_name_are_found() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 0 1 2 3 4 150 90 0 0 20 0 1 0 5";
        assert_eq!(ticks(stat), Some((150, 90)));
        assert!(processor_time(rustix::process::getpid()).is_ok());
    }
}
