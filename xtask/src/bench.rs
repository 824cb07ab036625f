//! `cargo xtask bench`: what banger costs, as ratios within one run.
//!
//! ```text
//! programs -> (root) bundle -> (enclosure) real VM starts -> simulated hosts -> tables
//! programs -> (root) testbed -> (its host) (enclosure) real VM starts and boots -> tables
//! ```
//!
//! Nothing here passes or fails: a machine that is busy with something else measures that too. The
//! figures of record, with what they mean, are in `docs/performance.md`.

mod arguments;
mod client;
mod firecracker;
mod floor;
mod groundwork;
mod in_testbed;
mod lists;
mod machine;
mod qmp;
mod report;
mod sample;
mod scratch;
mod start;

use crate::bundle::{self, Rebuild};
use crate::leftover::{self, Inventory};
use crate::workspace::{Profile, Workspace};
use crate::{enclosure, packages, programs, root};
use anyhow::{Result, bail};
use machine::Machine;

/// Where VMs run that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// On the machine, with QEMU. The client and the daemon's memory are measured too.
    Machine,
    /// In the testbed's host, with Firecracker.
    Testbed,
}

/// The task, as the user started it.
pub(crate) fn run(workspace: &Workspace, scene: Scene) -> Result<()> {
    let (packages, part): (&[packages::Package], _) = match scene {
        Scene::Machine => (&[], "bench"),
        Scene::Testbed => (&crate::firecracker::PACKAGES, "bench-firecracker"),
    };
    packages::install_with(packages)?;
    programs::build(workspace, Profile::Release)?;
    root::run(workspace, [part])
}

/// The part that needs root, in the machine's own network.
pub(crate) fn run_as_root(workspace: &Workspace, scene: Scene) -> Result<()> {
    if scene == Scene::Testbed {
        return in_testbed::run_as_root(workspace);
    }
    let done = measure(workspace);
    done.and(bundle::give_back(workspace))
}

fn measure(workspace: &Workspace) -> Result<()> {
    let before = Inventory::of_devices(workspace)?;
    let in_use = bundle::ensure(workspace, Profile::Release, Rebuild::IfStale)?;
    let measured = enclosure::run(["bench"]);
    let left = before.left_since()?;
    drop(in_use);
    measured?;
    if !left.is_empty() {
        bail!("something is left on the machine:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// The part in the private namespaces.
pub(crate) fn run_inside(workspace: &Workspace, scene: Scene) -> Result<()> {
    if scene == Scene::Testbed {
        return firecracker::run_inside(workspace);
    }
    let machine = Machine::read()?;
    let load = machine::load()?;
    let starts = start::measure(workspace)?;
    let lists = lists::measure(workspace)?;
    println!("\n{}", report::render(&machine, &load, &starts, &lists));
    let left = leftover::processes()?;
    if !left.is_empty() {
        bail!("something still runs:\n  {}", left.join("\n  "));
    }
    Ok(())
}
