//! The client's start-up, `vm list` with many VMs, and the daemon's memory: all on simulated hosts.
//!
//! Three daemons run side by side, with 1, 100 and 1,000 VMs, so that each round meets all of them
//! in the same weather.

use super::machine::kib;
use super::sample::Samples;
use super::scratch::Scratch;
use crate::cmd::{Cmd, Cost};
use crate::daemon::{Daemon, Home};
use crate::interrupt;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::time::Duration;

const ROUNDS: usize = 100;
const WARM_UP: usize = 5;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The simulated hosts, and how many VMs each has. The last is the one whose memory is measured.
const HOSTS: [(&str, usize); 3] = [("bench-1", 1), ("bench-100", 100), ("bench-1000", 1000)];

/// Room for all the VMs.
const CONFIG: &str = "subnet = \"172.16.0.1/16\"\n";

/// Time by the clock, and on the processors.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) wall: Samples,
    pub(super) cpu: Samples,
}

impl Costs {
    fn add(&mut self, cost: Cost) {
        self.wall.add(cost.wall);
        self.cpu.add(cost.cpu);
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// `true`, which does nothing.
    pub(super) nothing: Costs,
    /// `banger --version`, which asks no daemon.
    pub(super) version: Costs,
    /// `banger vm list` for each number of VMs.
    pub(super) lists: Vec<(usize, Costs)>,
    /// The daemon's resident memory in KiB, and when.
    pub(super) memory: Vec<(&'static str, u64)>,
}

/// Measures.
pub(super) fn measure(workspace: &Workspace) -> Result<Lists> {
    let mut scratches = Vec::new();
    for (task, _) in HOSTS {
        scratches.push(Scratch::new(workspace, task)?);
    }
    let mut lists = Lists::default();
    let mut daemons = Vec::new();
    let measured = rounds(workspace, &mut daemons, &mut lists);
    let mut stopped = Ok(());
    for daemon in daemons {
        stopped = stopped.and(daemon.stop());
    }
    measured?;
    stopped?;
    lists.after_restart(workspace)?;
    Ok(lists)
}

fn home(workspace: &Workspace, task: &str) -> Home {
    Home::new(workspace, task, Profile::Release).configured(CONFIG).simulated()
}

fn rounds(workspace: &Workspace, daemons: &mut Vec<Daemon>, lists: &mut Lists) -> Result<()> {
    for (task, count) in HOSTS {
        daemons.push(Daemon::start(home(workspace, task))?);
        let Some(daemon) = daemons.last() else { continue };
        if count == 1000 {
            lists.memory.push(("idle, no VM", resident(daemon)?));
        }
        eprintln!("creating {count} VMs");
        fill(daemon, count)?;
        if count == 1000 {
            lists.memory.push(("1,000 VMs created, one after the other", resident(daemon)?));
        }
    }
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            *lists = Lists { memory: std::mem::take(&mut lists.memory), ..Lists::default() };
        }
        lists.round(daemons)?;
    }
    if let Some(daemon) = daemons.last() {
        lists.memory.push(("and listed 105 times", resident(daemon)?));
    }
    Ok(())
}

impl Lists {
    fn round(&mut self, daemons: &[Daemon]) -> Result<()> {
        self.nothing.add(Cmd::new("true").measure()?);
        for (daemon, (_, count)) in daemons.iter().zip(HOSTS) {
            let banger = || daemon.banger().timeout(PATIENCE);
            if count == 1 {
                self.version.add(banger().arg("--version").measure()?);
            }
            let cost = banger().args(["vm", "list"]).measure()?;
            match self.lists.iter_mut().find(|(known, _)| *known == count) {
                Some((_, costs)) => costs.add(cost),
                None => {
                    let mut costs = Costs::default();
                    costs.add(cost);
                    self.lists.push((count, costs));
                }
            }
        }
        Ok(())
    }

    /// Starts a daemon again that has 1,000 records.
    fn after_restart(&mut self, workspace: &Workspace) -> Result<()> {
        let daemon = Daemon::start(home(workspace, "bench-1000"))?;
        let memory = check_count(&daemon, 1000).and_then(|()| resident(&daemon));
        let stopped = daemon.stop();
        self.memory.push(("a daemon that starts with 1,000 VMs", memory?));
        stopped
    }
}

/// Creates so many VMs and starts none.
pub(super) fn fill(daemon: &Daemon, count: usize) -> Result<()> {
    for number in 0..count {
        interrupt::check()?;
        let name = format!("vm-{number}");
        let create = daemon.banger().args(["vm", "create", "--no-start", "--name"]).arg(name);
        create.timeout(PATIENCE).measure()?;
    }
    check_count(daemon, count)
}

fn check_count(daemon: &Daemon, count: usize) -> Result<()> {
    let text = daemon.banger().args(["--json", "daemon", "status"]).silent().read()?;
    let status: serde_json::Value =
        serde_json::from_str(&text).context("cannot understand the daemon's status")?;
    match status["vms"].as_u64() {
        Some(vms) if usize::try_from(vms) == Ok(count) => Ok(()),
        vms => bail!("the daemon has {vms:?} VMs, not {count}"),
    }
}

fn resident(daemon: &Daemon) -> Result<u64> {
    let path = format!("/proc/{}/status", daemon.pid().as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kib(&text, "VmRSS").with_context(|| format!("{path} has no VmRSS"))
}
