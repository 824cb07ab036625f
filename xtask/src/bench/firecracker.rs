//! Firecracker over a dm-snapshot, from `vm start` to sshd, against the floor.
//!
//! Each round starts the same stopped VM twice: once with banger and once without, the other one
//! first in every second round. There are two sets of rounds:
//!
//! - starts end as soon as Firecracker has acknowledged `InstanceStart`, with a kill;
//! - boots go on until sshd sends its banner, and end in good order.
//!
//! What clears up after each is not measured.

mod api;
mod console;
mod disk;
mod floor;
mod guest;
mod report;

use super::client::{self, Outcome, banger};
use super::groundwork::NETWORK;
use super::machine::Machine;
use super::sample::Samples;
use super::scratch::Scratch;
use crate::daemon::{Daemon, Home};
use crate::interrupt::{self, Interrupted};
use crate::leftover::{self, Inventory};
use crate::workspace::{Profile, Workspace};
use anyhow::{Result, bail};
use console::{PATIENCE, Uptimes};
use floor::{Floor, SHUTDOWN};
use std::time::{Duration, SystemTime};

const STARTS: Rounds = Rounds { what: "start", warm_up: 2, count: 20 };
const BOOTS: Rounds = Rounds { what: "boot", warm_up: 1, count: 6 };

/// Whatever the defaults become. The network's settings come before these.
const CONFIG: &str = "overlay = \"dm-snapshot\"\nvmm = \"firecracker\"\n";

const VM: &str = "otter";
const TASK: &str = "bench-firecracker";

/// How often something is done.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    what: &'static str,
    /// These do not count.
    warm_up: usize,
    count: usize,
}

/// Who starts the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Floor,
}

/// How long the parts of a start took, up to `InstanceStart`.
#[derive(Debug, Clone, Copy)]
struct Start {
    host: Duration,
    /// Until its socket takes a connection.
    vmm: Duration,
    /// With `InstanceStart`.
    api: Duration,
    /// All of that and what lies between.
    whole: Duration,
}

/// How long a boot took from `InstanceStart` until it came to each of these.
#[derive(Debug, Clone, Copy)]
struct Boot {
    banger_init: Duration,
    /// The image's.
    init: Duration,
    ssh: Duration,
}

/// Some durations of the same things on both sides, round by round.
#[derive(Debug)]
struct Comparison<const N: usize> {
    ours: [Samples; N],
    floor: [Samples; N],
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    vmm_name: String,
    /// As in [`Start`]: host, VMM, API, whole.
    starts: Comparison<4>,
    /// As in [`Boot`].
    boots: Comparison<3>,
    /// What was done a second time, and why.
    repeats: Vec<String>,
    /// What the guest's init says of its boot.
    guest: String,
}

/// Measures, in the private namespaces, and prints the tables.
pub(super) fn run_inside(workspace: &Workspace) -> Result<()> {
    let machine = Machine::read()?;
    let before = [Inventory::of_links()?, Inventory::of_devices(workspace)?];
    let measured = measure(workspace);
    let mut left = leftover::processes()?;
    for then in &before {
        left.extend(then.left_since()?);
    }
    println!("{}", report::render(&machine, &measured?));
    if !left.is_empty() {
        bail!("something is left:\n  {}", left.join("\n  "));
    }
    Ok(())
}

fn measure(workspace: &Workspace) -> Result<Measured> {
    let scratch = Scratch::new(workspace, TASK)?;
    let home =
        Home::new(workspace, TASK, Profile::Release).configured(format!("{NETWORK}{CONFIG}"));
    let daemon = Daemon::start(home)?;
    let measured = with_vm(workspace, &daemon, &scratch);
    // Also when that failed, and whatever the VM does at the moment: its devices are the machine's.
    let deleted = banger(&daemon).args(["vm", "delete", VM]).clean_up().read();
    let stopped = daemon.stop();
    let measured = measured?;
    deleted?;
    stopped?;
    Ok(measured)
}

fn with_vm(workspace: &Workspace, daemon: &Daemon, scratch: &Scratch) -> Result<Measured> {
    eprintln!("first boot");
    banger(daemon).args(["vm", "create", "--no-start", "--name", VM]).read()?;
    let (_, outcome) = client::start_until_ssh(daemon, VM, PATIENCE)?;
    let floor = Floor::of(&outcome.vm, scratch.dir(), &client::initrd(workspace)?)?;
    client::stop(daemon, VM, SHUTDOWN)?;

    let mut contest = Contest { daemon, floor: &floor, repeats: Vec::new() };
    let starts = contest.compare(STARTS, |contest, side| {
        let Start { host, vmm, api, whole } = contest.start(side)?;
        Ok([host, vmm, api, whole])
    })?;
    let boots = contest.compare(BOOTS, |contest, side| {
        let Boot { banger_init, init, ssh } = contest.boot(side)?;
        Ok([banger_init, init, ssh])
    })?;
    let repeats = contest.repeats;

    eprintln!("last boot");
    client::start_until_ssh(daemon, VM, PATIENCE)?;
    // All else has been measured by now.
    let guest = guest::analyse(daemon, VM).unwrap_or_else(|error| format!("{error:#}\n"));
    client::stop(daemon, VM, SHUTDOWN)?;
    Ok(Measured { vmm_name: floor.vmm_name()?, starts, boots, repeats, guest })
}

/// Both sides, over one VM.
#[derive(Debug)]
struct Contest<'a> {
    daemon: &'a Daemon,
    floor: &'a Floor,
    repeats: Vec<String>,
}

impl Contest<'_> {
    /// Has both sides do something in turns. A round that fails is done once more: in an emulated
    /// host a guest dies now and then.
    fn compare<const N: usize>(
        &mut self,
        rounds: Rounds,
        once: impl Fn(&Self, Side) -> Result<[Duration; N]>,
    ) -> Result<Comparison<N>> {
        let Rounds { what, warm_up, count } = rounds;
        let mut comparison = Comparison::new();
        for round in 0..warm_up + count {
            let first = if round % 2 == 0 { Side::Ours } else { Side::Floor };
            let name = format!("{what} {} of {}", round + 1, warm_up + count);
            let took = match self.both(first, &once) {
                Err(error) if !error.is::<Interrupted>() => {
                    eprintln!("{name} failed and is done again: {error:#}");
                    self.repeats.push(format!("{name}: {error:#}"));
                    self.recover();
                    self.both(first, &once)?
                }
                other => other?,
            };
            eprintln!("{name}: {}", shown(&took));
            if round >= warm_up {
                comparison.add(took);
            }
        }
        Ok(comparison)
    }

    /// What ours took, and then what the floor took.
    fn both<const N: usize>(
        &self,
        first: Side,
        once: impl Fn(&Self, Side) -> Result<[Duration; N]>,
    ) -> Result<[[Duration; N]; 2]> {
        interrupt::check()?;
        match first {
            Side::Ours => {
                let ours = once(self, Side::Ours)?;
                Ok([ours, once(self, Side::Floor)?])
            }
            Side::Floor => {
                let floor = once(self, Side::Floor)?;
                Ok([once(self, Side::Ours)?, floor])
            }
        }
    }

    /// Ends what a round may have left. Each fails when there is nothing of its kind.
    fn recover(&self) {
        client::kill(self.daemon, VM).ok();
        self.floor.clear().ok();
    }

    fn start(&self, side: Side) -> Result<Start> {
        if side == Side::Floor {
            let (vm, start) = self.floor.start()?;
            return vm.kill().map(|()| start);
        }
        let launched = SystemTime::now();
        let (_, Outcome { vm, timings }) = client::start(self.daemon, VM)?;
        let whole = client::until(launched, &vm.changed_at)?;
        client::kill(self.daemon, VM)?;
        Ok(Start {
            host: client::phase(&timings, "prepare the host")?,
            vmm: client::phase(&timings, "start the VMM")?,
            api: client::phase(&timings, "configure the machine")?,
            whole,
        })
    }

    fn boot(&self, side: Side) -> Result<Boot> {
        if side == Side::Floor {
            let (mut vm, _) = self.floor.start()?;
            let boot = vm.wait_until_ssh()?;
            return vm.shut_down().map(|()| boot);
        }
        let launched = SystemTime::now();
        let (took, Outcome { vm, timings }) = client::start_until_ssh(self.daemon, VM, PATIENCE)?;
        // The way back to the client is in these too.
        let ssh = took.saturating_sub(client::until(launched, &vm.changed_at)?);
        let init = ssh.saturating_sub(client::phase(&timings, "wait for ssh")?);
        let in_banger_init = Uptimes::read(&vm.console_log)?.of_init();
        client::stop(self.daemon, VM, SHUTDOWN)?;
        Ok(Boot { banger_init: init.saturating_sub(in_banger_init), init, ssh })
    }
}

impl<const N: usize> Comparison<N> {
    fn new() -> Self {
        let none = || std::array::from_fn(|_| Samples::default());
        Self { ours: none(), floor: none() }
    }

    fn add(&mut self, [ours, floor]: [[Duration; N]; 2]) {
        for (all, took) in [(&mut self.ours, ours), (&mut self.floor, floor)] {
            all.iter_mut().zip(took).for_each(|(samples, took)| samples.add(took));
        }
    }
}

/// For who waits.
fn shown<const N: usize>([ours, floor]: &[[Duration; N]; 2]) -> String {
    let list = |side: &[Duration; N]| {
        let all: Vec<String> = side.iter().map(|took| took.as_millis().to_string()).collect();
        all.join(" ")
    };
    format!("ours {}, floor {} ms", list(ours), list(floor))
}
