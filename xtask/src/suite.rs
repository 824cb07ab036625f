//! `cargo xtask test`: every level that this machine can run, and a table at the end.

mod checks;
mod copy;
mod in_testbed;
mod nextest;
mod report;
mod tools;
mod verdicts;

use crate::bundle::{self, Rebuild};
use crate::cmd::Cmd;
use crate::interrupt;
use crate::leftover::{self, Inventory};
use crate::packages::Package;
use crate::workspace::{Profile, Workspace};
use crate::{enclosure, firecracker, packages, programs, root};
use anyhow::{Result, bail};
use clap::ValueEnum;
use nextest::Nextest;
use report::{Outcome, Report};
use std::path::Path;
use std::process::ExitCode;

/// What can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Formatting, lints, house rules, licences, the levels' borders.
    Checks,
    /// Unit tests, documentation tests, and everything against simulated hosts.
    Unit,
    /// The host crate on the real kernel, in private network namespaces; needs root.
    Host,
    /// Real VMs on QEMU, in a private network namespace; needs root.
    E2e,
    /// The tests of the two above once more, with Firecracker and device-mapper in the testbed.
    Testbed,
}

impl Level {
    /// Its profiles of nextest; the checks have none.
    const fn profiles(self) -> &'static [&'static str] {
        match self {
            Self::Checks => &[],
            Self::Unit => &["default"],
            Self::Host => &["host"],
            Self::E2e => &["e2e"],
            Self::Testbed => &["testbed", "testbed-reflink"],
        }
    }

    /// Its name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::Unit => "unit",
            Self::Host => "host",
            Self::E2e => "e2e",
            Self::Testbed => "testbed",
        }
    }

    /// Why this machine cannot run it, if so.
    fn obstacle(self) -> Result<Option<String>> {
        match self {
            Self::Checks | Self::Unit => Ok(None),
            Self::E2e | Self::Testbed if !cfg!(target_arch = "x86_64") => {
                Ok(Some("the machine is no x86-64".to_owned()))
            }
            Self::Host | Self::E2e | Self::Testbed if !can_be_root()? => {
                Ok(Some("it needs root, and `sudo` is not installed".to_owned()))
            }
            Self::Host if !Path::new("/dev/loop-control").exists() => {
                Ok(Some("there is no /dev/loop-control; load the kernel module `loop`".to_owned()))
            }
            Self::Host | Self::E2e | Self::Testbed => root_obstacle(),
        }
    }
}

/// Runs the levels, all of them when none is given.
pub(crate) fn run(workspace: &Workspace, levels: &[Level], extra: &[String]) -> Result<ExitCode> {
    let all = Level::value_variants();
    let levels: Vec<Level> =
        all.iter().copied().filter(|level| levels.is_empty() || levels.contains(level)).collect();
    let more: &[Package] =
        if levels.contains(&Level::Testbed) { &firecracker::PACKAGES } else { &[] };
    packages::install_with(more)?;
    let mut report = Report::default();
    if levels.contains(&Level::Checks) {
        checks::run(workspace, &mut report)?;
    }
    if levels.iter().any(|level| *level != Level::Checks) {
        programs::build(workspace, Profile::Debug)?;
    }
    let nextest = Nextest::prepare(workspace)?;
    report.add("levels' borders", outcome(nextest.check_borders(workspace))?);
    for level in levels.into_iter().filter(|level| *level != Level::Checks) {
        interrupt::check()?;
        eprintln!("\n== level {}", level.name());
        run_level(workspace, &nextest, level, extra, &mut report)?;
    }
    println!("\n{}", report.render());
    Ok(report.exit_code())
}

fn run_level(
    workspace: &Workspace,
    nextest: &Nextest,
    level: Level,
    extra: &[String],
    report: &mut Report,
) -> Result<()> {
    if let Some(reason) = level.obstacle()? {
        report.add(level.name(), Outcome::CannotRun(reason));
        return Ok(());
    }
    if matches!(level, Level::E2e | Level::Testbed) {
        programs::set_apart(workspace, Profile::Debug, &nextest.programs())?;
        let prepared = outcome(root::run(workspace, ["bundle"]))?;
        if let Outcome::Failed(_) = prepared {
            report.add("e2e: runtime bundle", prepared);
            report
                .add(level.name(), Outcome::CannotRun("the bundle could not be built".to_owned()));
            return Ok(());
        }
    }
    let profiles = level.profiles();
    profiles.iter().try_for_each(|profile| nextest.forget_results(workspace, profile))?;
    let ran = match level {
        Level::Checks | Level::Unit => nextest.run(workspace, level, extra),
        Level::Host | Level::E2e | Level::Testbed => {
            let args = ["level", level.name(), "--"].map(str::to_owned);
            root::run(workspace, args.iter().chain(extra))
        }
    };
    let trouble = match outcome(ran)? {
        Outcome::Failed(reason) => Some(reason),
        _ => None,
    };
    let counts = profiles.iter().map(|profile| nextest.counts(workspace, profile));
    let rows = report::of_tests(&counts.collect::<Vec<_>>(), trouble.as_deref());
    for (profile, row) in profiles.iter().zip(rows) {
        report.add(if profiles.len() == 1 { level.name() } else { profile }, row);
    }
    if level == Level::Unit && extra.is_empty() {
        // nextest runs no documentation tests.
        let docs =
            programs::cargo(workspace).args(["test", "--doc", "--workspace", "--quiet"]).run();
        report.add("unit: documentation", outcome(docs)?);
    }
    Ok(())
}

/// Builds the bundle if need be; the part that needs root.
pub(crate) fn prepare_bundle(workspace: &Workspace) -> Result<()> {
    let done = bundle::ensure(workspace, Profile::Debug, Rebuild::IfStale).map(drop);
    done.and(bundle::give_back(workspace))
}

/// Runs a level that needs root; the part in the machine's own network.
pub(crate) fn run_as_root(workspace: &Workspace, level: Level, extra: &[String]) -> Result<()> {
    if level == Level::Testbed {
        return in_testbed::run_as_root(workspace, extra);
    }
    let before = Inventory::of_devices(workspace)?;
    // The lock keeps another task from replacing the bundle below running VMs.
    let in_use = match level {
        Level::E2e => Some(bundle::ensure(workspace, Profile::Debug, Rebuild::IfStale)?),
        _ => None,
    };
    let args = ["level", level.name(), "--"].map(str::to_owned);
    let ran = enclosure::run(args.iter().chain(extra));
    let left = before.left_since()?;
    drop(in_use);
    bundle::give_back(workspace)?;
    ran?;
    if !left.is_empty() {
        bail!("the tests left something on the machine:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// Runs a level; the part in the private namespaces.
pub(crate) fn run_inside(workspace: &Workspace, level: Level, extra: &[String]) -> Result<()> {
    // In the testbed there is nobody outside of these namespaces who would look for devices.
    let before = [Inventory::of_links()?, Inventory::of_devices(workspace)?];
    let ran = Nextest::prepared(workspace)?.run(workspace, level, extra);
    let mut left = leftover::processes()?;
    for then in &before {
        left.extend(then.left_since()?);
    }
    ran?;
    if !left.is_empty() {
        bail!("the tests left something in the private namespaces:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// What became of a step. Only an interrupt ends the whole run.
fn outcome(result: Result<()>) -> Result<Outcome> {
    match result {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) if error.is::<interrupt::Interrupted>() => Err(error),
        Err(error) => {
            if !error.is::<root::Told>() {
                eprintln!("error: {error:#}");
            }
            Ok(Outcome::Failed(error.to_string()))
        }
    }
}

fn can_be_root() -> Result<bool> {
    Ok(rustix::process::geteuid().is_root() || Cmd::new("sudo").arg("--version").probe()?.is_some())
}

/// Only root can find out whether namespaces can be made.
fn root_obstacle() -> Result<Option<String>> {
    if rustix::process::geteuid().is_root() { enclosure::obstacle() } else { Ok(None) }
}
