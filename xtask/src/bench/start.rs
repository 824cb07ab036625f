//! From `vm start` until the VMM says that the machine runs, against the floor.
//!
//! Each round starts the same stopped VM three ways, and the order turns round after each:
//!
//! - `ours`: `banger vm start --wait none`, from the launch of the client;
//! - `floor`: the floor, everything included;
//! - `vmm`: the floor's QEMU alone, with everything else in place.
//!
//! All three end with QEMU's answer to `cont`. For ours that is when the VM's record says `running`,
//! which is just after it; `client` is the time until the client has printed and ended, while the
//! guest boots already. What clears up after each is not measured.

use super::floor::Floor;
use super::sample::Samples;
use super::scratch::Scratch;
use crate::cmd::Cmd;
use crate::daemon::{Daemon, Home};
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Rounds that count, after those that warm up.
const ROUNDS: usize = 40;
const WARM_UP: usize = 2;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The network of the VM, as in [`CONFIG`].
pub(super) const BRIDGE: &str = "banger0";
pub(super) const GATEWAY: &str = "172.16.0.1";
pub(super) const NETWORK_PREFIX: u8 = 24;

/// The floor is written for these, whatever the defaults become.
const CONFIG: &str = r#"
bridge = "banger0"
subnet = "172.16.0.1/24"
overlay = "copy"
vmm = "qemu"
"#;

const VM: &str = "otter";
const TASK: &str = "bench-vm";

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// The VMM, and how it runs guests.
    pub(super) vmm_name: String,
    pub(super) ours: Samples,
    pub(super) client: Samples,
    pub(super) floor: Samples,
    pub(super) vmm: Samples,
    /// The daemon's own phases.
    pub(super) phases: Vec<(String, Samples)>,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Ours,
    Floor,
    Vmm,
}

/// The parts of a client's `--json` answer that are of interest here.
#[derive(Debug, Deserialize)]
struct Answer {
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    vm: Vm,
    timings: Vec<Timing>,
}

#[derive(Debug, Deserialize)]
struct Vm {
    pid: Option<i32>,
    state: String,
    /// RFC 3339, in UTC, to the millisecond.
    changed_at: String,
}

#[derive(Debug, Deserialize)]
struct Timing {
    phase: String,
    elapsed_ms: u64,
}

/// Measures. It needs root, and a network of its own.
pub(super) fn measure(workspace: &Workspace) -> Result<Starts> {
    let scratch = Scratch::new(workspace, TASK)?;
    let home = Home::new(workspace, TASK, Profile::Release).configured(CONFIG);
    let daemon = Daemon::start(home)?;
    let measured = rounds(&daemon, workspace, &scratch);
    let deleted = measured.is_ok().then(|| banger(&daemon).args(["vm", "delete", VM]).read());
    let stopped = daemon.stop();
    let starts = measured?;
    deleted.transpose()?;
    stopped?;
    Ok(starts)
}

fn rounds(daemon: &Daemon, workspace: &Workspace, scratch: &Scratch) -> Result<Starts> {
    banger(daemon).args(["vm", "create", "--no-start", "--name", VM]).read()?;
    let (_, outcome) = start(daemon)?;
    let pid = outcome.vm.pid.and_then(Pid::from_raw).context("the VM has no process")?;
    let floor = Floor::of(pid, scratch.dir(), &initrd(workspace)?)?;
    kill(daemon)?;

    let mut starts = Starts { vmm_name: floor.vmm_name()?, ..Starts::default() };
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            starts.forget();
        }
        let mut order = [Way::Ours, Way::Floor, Way::Vmm];
        if round % 2 == 1 {
            order.reverse();
        }
        for way in order {
            starts.go(way, daemon, &floor)?;
        }
        eprintln!("round {} of {}", round + 1, WARM_UP + ROUNDS);
    }
    Ok(starts)
}

impl Starts {
    fn forget(&mut self) {
        let vmm_name = std::mem::take(&mut self.vmm_name);
        *self = Self { vmm_name, ..Self::default() };
    }

    fn go(&mut self, way: Way, daemon: &Daemon, floor: &Floor) -> Result<()> {
        match way {
            Way::Ours => {
                let launched = SystemTime::now();
                let (client, outcome) = start(daemon)?;
                self.ours.add(until(launched, &outcome.vm.changed_at)?);
                self.client.add(client);
                self.add_phases(outcome.timings);
                return kill(daemon);
            }
            Way::Floor => {
                let since = Instant::now();
                floor.prepare()?;
                let started = floor.launch()?;
                self.floor.add(since.elapsed());
                drop(started);
            }
            Way::Vmm => {
                floor.prepare()?;
                let since = Instant::now();
                let started = floor.launch()?;
                self.vmm.add(since.elapsed());
                drop(started);
            }
        }
        floor.clear()
    }

    fn add_phases(&mut self, timings: Vec<Timing>) {
        for Timing { phase, elapsed_ms } in timings {
            let took = Duration::from_millis(elapsed_ms);
            match self.phases.iter_mut().find(|(name, _)| *name == phase) {
                Some((_, samples)) => samples.add(took),
                None => {
                    let mut samples = Samples::default();
                    samples.add(took);
                    self.phases.push((phase, samples));
                }
            }
        }
    }
}

fn start(daemon: &Daemon) -> Result<(Duration, Outcome)> {
    let cmd = banger(daemon).args(["--json", "vm", "start", "--wait", "none", VM]);
    let since = Instant::now();
    let text = cmd.read()?;
    let took = since.elapsed();
    let answers: Vec<Answer> =
        serde_json::from_str(&text).context("cannot understand the client's answer")?;
    let [Answer { outcome }] = <[Answer; 1]>::try_from(answers)
        .map_err(|answers| anyhow::anyhow!("{} answers for one VM", answers.len()))?;
    Ok((took, outcome))
}

/// From one moment until the other on the same day or the next.
fn until(from: SystemTime, to: &str) -> Result<Duration> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let from = from.duration_since(UNIX_EPOCH).context("the clock is not set")?;
    let from = Duration::from_micros(u64::try_from(from.as_micros() % DAY.as_micros())?);
    let to = time_of_day(to).with_context(|| format!("`{to}` is no time"))?;
    Ok(if to < from { to + DAY - from } else { to - from })
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

fn kill(daemon: &Daemon) -> Result<()> {
    let text = banger(daemon).args(["--json", "vm", "kill", VM]).read()?;
    let answers: Vec<Answer> =
        serde_json::from_str(&text).context("cannot understand the client's answer")?;
    match answers.iter().find(|answer| answer.outcome.vm.state != "stopped") {
        Some(answer) => bail!("after `vm kill` the VM is {}", answer.outcome.vm.state),
        None => Ok(()),
    }
}

/// The client; without live lines, which cost time on a terminal only.
fn banger(daemon: &Daemon) -> Cmd {
    daemon.banger().env("TERM", "dumb").timeout(PATIENCE).silent()
}

/// The image's initrd.
fn initrd(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.bundle();
    let path = dir.join("bundle.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let name = manifest["initrd"].as_str().context("the bundle has no initrd")?;
    Ok(dir.join(name))
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
    }
}
