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

use super::client::{self, Timing, banger};
use super::floor::Floor;
use super::groundwork::NETWORK;
use super::sample::Samples;
use super::scratch::Scratch;
use crate::daemon::{Daemon, Home};
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result};
use rustix::process::Pid;
use std::time::{Instant, SystemTime};

/// Rounds that count, after those that warm up.
const ROUNDS: usize = 40;
const WARM_UP: usize = 2;
/// Whatever the defaults become. The network's settings come before these.
const CONFIG: &str = "overlay = \"copy\"\nvmm = \"qemu\"\n";

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

/// Measures. It needs root, and a network of its own.
pub(super) fn measure(workspace: &Workspace) -> Result<Starts> {
    let scratch = Scratch::new(workspace, TASK)?;
    let home =
        Home::new(workspace, TASK, Profile::Release).configured(format!("{NETWORK}{CONFIG}"));
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
    let (_, outcome) = client::start(daemon, VM)?;
    let pid = outcome.vm.pid.and_then(Pid::from_raw).context("the VM has no process")?;
    let floor = Floor::of(pid, scratch.dir(), &client::initrd(workspace)?)?;
    client::kill(daemon, VM)?;

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
                let (client, outcome) = client::start(daemon, VM)?;
                self.ours.add(client::until(launched, &outcome.vm.changed_at)?);
                self.client.add(client);
                self.add_phases(outcome.timings);
                return client::kill(daemon, VM);
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
        for timing in timings {
            let (took, phase) = (timing.elapsed(), timing.phase);
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
