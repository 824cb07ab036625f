//! What a measurement asks of banger's client, and what that answers.

use crate::cmd::Cmd;
use crate::daemon::Daemon;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a client may take that waits for no guest.
const PATIENCE: Duration = Duration::from_secs(120);

/// The parts of a client's `--json` answer that are of interest here.
#[derive(Debug, Deserialize)]
struct Answer {
    outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) vm: Vm,
    /// The daemon's own phases.
    pub(super) timings: Vec<Timing>,
}

/// A VM's record.
#[derive(Debug, Deserialize)]
pub(super) struct Vm {
    pub(super) pid: Option<i32>,
    pub(super) ip: std::net::Ipv4Addr,
    pub(super) console_log: PathBuf,
    /// RFC 3339, in UTC, to the millisecond.
    pub(super) changed_at: String,
    state: String,
}

/// How long a phase took.
#[derive(Debug, Deserialize)]
pub(super) struct Timing {
    pub(super) phase: String,
    elapsed_ms: u64,
}

impl Timing {
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms)
    }
}

/// How long the phase took that has this name.
pub(super) fn phase(timings: &[Timing], name: &str) -> Result<Duration> {
    let found = timings.iter().find(|timing| timing.phase == name);
    found.map(Timing::elapsed).with_context(|| format!("the daemon reports no phase `{name}`"))
}

/// The client; without live lines, which cost time on a terminal only.
pub(super) fn banger(daemon: &Daemon) -> Cmd {
    daemon.banger().env("TERM", "dumb").timeout(PATIENCE).silent()
}

/// Starts the VM, and says how long the client took as a whole.
pub(super) fn start(daemon: &Daemon, vm: &str) -> Result<(Duration, Outcome)> {
    asked(banger(daemon).args(["--json", "vm", "start", "--wait", "none", vm]))
}

/// Starts the VM and waits until its sshd answers.
pub(super) fn start_until_ssh(
    daemon: &Daemon,
    vm: &str,
    patience: Duration,
) -> Result<(Duration, Outcome)> {
    let seconds = patience.as_secs().to_string();
    let cmd = banger(daemon).args(["--json", "vm", "start", "--wait", "ssh", "--timeout"]);
    asked(cmd.args([&seconds, vm]).timeout(patience + PATIENCE))
}

/// Ends the VM without asking its guest.
pub(super) fn kill(daemon: &Daemon, vm: &str) -> Result<()> {
    stopped(banger(daemon).args(["--json", "vm", "kill", vm]))
}

/// Ends the VM in good order.
pub(super) fn stop(daemon: &Daemon, vm: &str, patience: Duration) -> Result<()> {
    let seconds = patience.as_secs().to_string();
    let cmd = banger(daemon).args(["--json", "vm", "stop", "--timeout", &seconds, vm]);
    stopped(cmd.timeout(patience + PATIENCE))
}

/// From one moment until the other on the same day or the next.
pub(super) fn until(from: SystemTime, to: &str) -> Result<Duration> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let from = from.duration_since(UNIX_EPOCH).context("the clock is not set")?;
    let from = Duration::from_micros(u64::try_from(from.as_micros() % DAY.as_micros())?);
    let to = time_of_day(to).with_context(|| format!("`{to}` is no time"))?;
    Ok(if to < from { to + DAY - from } else { to - from })
}

/// From one moment, which was just now, until the other.
pub(super) fn after(from: &str, to: SystemTime) -> Result<Duration> {
    // A day less of what is missing to a day.
    Ok(Duration::from_secs(24 * 60 * 60) - until(to, from)?)
}

/// The image's initrd.
pub(super) fn initrd(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.bundle();
    let path = dir.join("bundle.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let name = manifest["initrd"].as_str().context("the bundle has no initrd")?;
    Ok(dir.join(name))
}

fn asked(cmd: Cmd) -> Result<(Duration, Outcome)> {
    let since = Instant::now();
    let text = cmd.read()?;
    let took = since.elapsed();
    let answers: Vec<Answer> = understood(&text)?;
    let [Answer { outcome }] = <[Answer; 1]>::try_from(answers)
        .map_err(|answers| anyhow::anyhow!("{} answers for one VM", answers.len()))?;
    Ok((took, outcome))
}

fn stopped(cmd: Cmd) -> Result<()> {
    let (_, Outcome { vm, .. }) = asked(cmd)?;
    if vm.state == "stopped" { Ok(()) } else { bail!("the VM is {}, not stopped", vm.state) }
}

fn understood<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).context("cannot understand the client's answer")
}

/// The time of day of `2026-11-22T05:46:46.391Z`.
fn time_of_day(text: &str) -> Option<Duration> {
    let (_, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split(':');
    let mut whole = || parts.next()?.parse::<u64>().ok();
    let minutes = whole()? * 60 + whole()?;
    let seconds = Duration::try_from_secs_f64(parts.next()?.parse().ok()?).ok()?;
    Some(Duration::from_secs(minutes * 60) + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_taken_across_midnight_too() {
        let noon = UNIX_EPOCH + Duration::from_secs(36 * 60 * 60);
        let took = until(noon, "1970-01-02T12:00:00.25Z").unwrap();
        assert_eq!(took, Duration::from_millis(250));
        let late = UNIX_EPOCH + Duration::from_millis(24 * 60 * 60 * 1000 - 100);
        assert_eq!(until(late, "1970-01-02T00:00:01Z").unwrap(), Duration::from_millis(1100));
        assert!(until(noon, "tomorrow").is_err());
        assert_eq!(after("1970-01-02T11:59:59.75Z", noon).unwrap(), took);
    }

    #[test]
    fn a_phase_is_found_by_its_name() {
        let text = r#"[{"outcome": {"timings": [{"phase": "wait for ssh", "elapsed_ms": 12}],
            "vm": {"pid": 7, "ip": "172.16.0.2", "console_log": "/c", "state": "running",
                   "changed_at": "1970-01-02T12:00:00.25Z"}}}]"#;
        let answers: Vec<Answer> = understood(text).unwrap();
        let timings = &answers[0].outcome.timings;
        assert_eq!(phase(timings, "wait for ssh").unwrap(), Duration::from_millis(12));
        assert!(phase(timings, "clean up").is_err());
    }
}
