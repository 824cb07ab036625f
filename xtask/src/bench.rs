//! `cargo xtask bench`: what banger costs, as ratios within one run.
//!
//! ```text
//! programs -> (root) bundle -> (enclosure) real VM starts, simulated hosts, names, images -> tables
//! programs -> (root) testbed -> (its host) (enclosure) real VM starts and boots -> tables
//! ```
//!
//! Nothing here passes or fails: a machine that is busy with something else measures that too. The
//! figures of record, with what they mean, are in `docs/performance.md`.

mod arguments;
mod client;
mod dns;
mod firecracker;
mod floor;
mod groundwork;
mod images;
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
use crate::packages::Package;
use crate::workspace::{Profile, Workspace};
use crate::{enclosure, packages, programs, root};
use anyhow::{Result, bail};
use clap::ValueEnum;
use machine::Machine;

/// What is measured on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Starting a real VM on QEMU.
    Starts,
    /// The client, lists of many VMs, and the daemon's memory.
    Lists,
    /// The DNS server, and how soon a VM that starts has its name.
    Dns,
    /// Clones of root file systems, imports, and uploads to guests.
    Images,
}

impl Subject {
    /// Its name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Starts => "starts",
            Self::Lists => "lists",
            Self::Dns => "dns",
            Self::Images => "images",
        }
    }

    /// What is needed beside the packages of every task.
    const fn packages(self) -> &'static [Package] {
        match self {
            Self::Starts | Self::Lists => &[],
            Self::Dns => &dns::PACKAGES,
            Self::Images => &images::PACKAGES,
        }
    }

    /// Its tables.
    fn measure(self, workspace: &Workspace) -> Result<String> {
        Ok(match self {
            Self::Starts => report::of_starts(&start::measure(workspace)?),
            Self::Lists => report::of_lists(&lists::measure(workspace)?),
            Self::Dns => dns::render(&dns::measure(workspace)?),
            Self::Images => images::render(&images::measure(workspace)?),
        })
    }
}

/// Measures on the machine, with QEMU where a VM is real: the given subjects, or all.
pub(crate) fn run(workspace: &Workspace, subjects: &[Subject]) -> Result<()> {
    let all = Subject::value_variants();
    let subjects = if subjects.is_empty() { all } else { subjects };
    let more: Vec<Package> =
        subjects.iter().flat_map(|subject| subject.packages()).copied().collect();
    packages::install_with(&more)?;
    programs::build(workspace, Profile::Release)?;
    if subjects.contains(&Subject::Images) {
        images::build(workspace)?;
    }
    root::run(workspace, args(subjects))
}

/// Measures in the testbed's host, with Firecracker.
pub(crate) fn run_in_testbed(workspace: &Workspace) -> Result<()> {
    packages::install_with(&crate::firecracker::PACKAGES)?;
    programs::build(workspace, Profile::Release)?;
    root::run(workspace, ["bench-firecracker"])
}

/// The part that needs root, in the machine's own network.
pub(crate) fn run_as_root(workspace: &Workspace, subjects: &[Subject]) -> Result<()> {
    let done = measure(workspace, subjects);
    done.and(bundle::give_back(workspace))
}

/// The part that needs root, on the machine that the testbed runs on.
pub(crate) fn run_in_testbed_as_root(workspace: &Workspace) -> Result<()> {
    in_testbed::run_as_root(workspace)
}

fn args(subjects: &[Subject]) -> impl Iterator<Item = &'static str> {
    ["bench"].into_iter().chain(subjects.iter().map(|subject| subject.name()))
}

fn measure(workspace: &Workspace, subjects: &[Subject]) -> Result<()> {
    let before = Inventory::of_devices(workspace)?;
    // Only VMs that are real boot from one.
    let in_use = if subjects.contains(&Subject::Starts) {
        Some(bundle::ensure(workspace, Profile::Release, Rebuild::IfStale)?)
    } else {
        None
    };
    let measured = enclosure::run(args(subjects));
    let left = before.left_since()?;
    drop(in_use);
    measured?;
    if !left.is_empty() {
        bail!("something is left on the machine:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// The part in the private namespaces.
pub(crate) fn run_inside(workspace: &Workspace, subjects: &[Subject]) -> Result<()> {
    let machine = Machine::read()?;
    let load = machine::load()?;
    let mut tables = format!("Machine: {machine}. Load average before: {load}.\n");
    for subject in subjects {
        tables.push('\n');
        tables.push_str(&subject.measure(workspace)?);
    }
    println!("\n{}", tables.trim_end());
    let left = leftover::processes()?;
    if !left.is_empty() {
        bail!("something still runs:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// The part in the private namespaces of the testbed's host.
pub(crate) fn run_inside_testbed(workspace: &Workspace) -> Result<()> {
    firecracker::run_inside(workspace)
}
