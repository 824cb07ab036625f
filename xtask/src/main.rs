//! `cargo xtask`: the tasks of this repository.
//!
//! It knows banger only as programs and source text, so that it builds in seconds.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "xtask talks to who runs it")]

mod bench;
mod bundle;
mod cmd;
mod daemon;
mod enclosure;
mod firecracker;
mod interrupt;
mod leftover;
mod packages;
mod phases;
mod programs;
mod quickstart;
mod root;
mod suite;
mod testbed;
mod tidy;
mod workspace;

use anyhow::Result;
use bench::Subject;
use bundle::Rebuild;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use suite::Level;
use workspace::Workspace;

/// The tasks of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Set everything up and run `uname -a` in a VM of its own.
    Quickstart {
        /// Build the runtime bundle although it is current.
        #[arg(long)]
        rebuild_bundle: bool,
    },
    /// Build the release programs, `banger-init` among them, which has to be static.
    Build,
    /// Set everything up and run the checks and tests.
    Test {
        /// What to run; everything when nothing is given.
        #[arg(value_enum)]
        levels: Vec<Level>,
        /// More arguments for `cargo nextest run`, such as a test's name.
        #[arg(last = true)]
        nextest: Vec<String>,
    },
    /// A host of its own with KVM and device-mapper, emulated where need be.
    #[command(subcommand)]
    Testbed(testbed::Action),
    /// Check the rules of the house that no compiler knows.
    Tidy {
        /// Write the documents that are made from the source instead of checking them.
        #[arg(long)]
        update: bool,
    },
    /// Measure what banger costs, as ratios in one run.
    Bench {
        /// What to measure; everything when nothing is given.
        #[arg(value_enum, conflicts_with = "testbed")]
        subjects: Vec<Subject>,
        /// Measure Firecracker, in the testbed, instead of QEMU.
        #[arg(long)]
        testbed: bool,
    },
    #[command(hide = true, subcommand)]
    Root(Part),
    #[command(hide = true)]
    Enclosed {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    #[command(hide = true, subcommand)]
    Inside(Part),
}

/// What another xtask process has left to this one.
#[derive(Debug, Subcommand)]
enum Part {
    Quickstart {
        #[arg(long)]
        rebuild_bundle: bool,
    },
    Bundle,
    TestbedUp,
    TestbedDown,
    Bench {
        #[arg(value_enum)]
        subjects: Vec<Subject>,
    },
    BenchFirecracker,
    Level {
        #[arg(value_enum)]
        level: Level,
        #[arg(last = true)]
        nextest: Vec<String>,
    },
}

fn main() -> ExitCode {
    interrupt::catch_signals();
    let task = Args::parse().task;
    let is_part = matches!(task, Task::Root(_) | Task::Enclosed { .. } | Task::Inside(_));
    match run(task) {
        Ok(code) => code,
        Err(error) if error.is::<interrupt::Interrupted>() => {
            if !is_part {
                eprintln!("interrupted; nothing is left running");
            }
            ExitCode::from(130)
        }
        Err(error) if error.is::<root::Told>() => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("caused by: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::of_this_source();
    match task {
        Task::Quickstart { rebuild_bundle } => {
            quickstart::run(&workspace, rebuild(rebuild_bundle))?;
        }
        Task::Build => {
            programs::build(&workspace, workspace::Profile::Release)?;
            let dir = workspace.program(workspace::Profile::Release, "");
            println!("banger, bangerd and banger-init are in {}", dir.display());
        }
        Task::Test { levels, nextest } => return suite::run(&workspace, &levels, &nextest),
        Task::Testbed(action) => return testbed::run(&workspace, action),
        Task::Tidy { update: false } => tidy::check(&workspace)?,
        Task::Tidy { update: true } => tidy::update(&workspace)?,
        Task::Bench { subjects, testbed: false } => bench::run(&workspace, &subjects)?,
        Task::Bench { testbed: true, .. } => bench::run_in_testbed(&workspace)?,
        Task::Root(part) => {
            interrupt::watch_stdin();
            run_as_root(&workspace, part)?;
        }
        Task::Enclosed { args } => return enclosure::hold(args),
        Task::Inside(part) => {
            interrupt::watch_stdin();
            run_inside(&workspace, part)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_as_root(workspace: &Workspace, part: Part) -> Result<()> {
    match part {
        Part::Quickstart { rebuild_bundle } => {
            quickstart::run_as_root(workspace, rebuild(rebuild_bundle))
        }
        Part::Bundle => suite::prepare_bundle(workspace),
        Part::TestbedUp => testbed::up_as_root(workspace),
        Part::TestbedDown => testbed::down_as_root(workspace),
        Part::Bench { subjects } => bench::run_as_root(workspace, &subjects),
        Part::BenchFirecracker => bench::run_in_testbed_as_root(workspace),
        Part::Level { level, nextest } => suite::run_as_root(workspace, level, &nextest),
    }
}

fn run_inside(workspace: &Workspace, part: Part) -> Result<()> {
    match part {
        Part::Quickstart { .. } => quickstart::run_inside(workspace),
        Part::Bench { subjects } => bench::run_inside(workspace, &subjects),
        Part::BenchFirecracker => bench::run_inside_testbed(workspace),
        Part::Level { level, nextest } => suite::run_inside(workspace, level, &nextest),
        Part::Bundle | Part::TestbedUp | Part::TestbedDown => {
            anyhow::bail!("this needs the machine's own network")
        }
    }
}

fn rebuild(asked_for: bool) -> Rebuild {
    if asked_for { Rebuild::Always } else { Rebuild::IfStale }
}
