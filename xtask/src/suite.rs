//! `cargo xtask test`: every level that this machine can run, and a table at the end.

mod checks;
mod copy;
mod fuzz;
mod in_testbed;
mod nextest;
mod promtool;
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
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nextest::Nextest;
use report::{Outcome, Report};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// What can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Formatting, lints, house rules, licences, the levels' borders.
    Checks,
    /// Unit tests, documentation tests, and everything against simulated hosts.
    Unit,
    /// What takes bytes from others, with bytes that nobody would think of, for some seconds each.
    Fuzz,
    /// The host crate on the real kernel, in private network namespaces; needs root.
    Host,
    /// Real VMs on QEMU, in a private network namespace; needs root.
    E2e,
    /// The tests of the two above once more, with Firecracker and device-mapper in the testbed.
    Testbed,
}

impl Level {
    /// Its profiles of nextest; what has none is no test of nextest's.
    const fn profiles(self) -> &'static [&'static str] {
        match self {
            Self::Checks | Self::Fuzz => &[],
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
            Self::Fuzz => "fuzz",
            Self::Host => "host",
            Self::E2e => "e2e",
            Self::Testbed => "testbed",
        }
    }

    /// Why this machine cannot run it, if so.
    fn obstacle(self) -> Result<Option<String>> {
        match self {
            Self::Checks | Self::Unit => Ok(None),
            Self::Fuzz | Self::E2e | Self::Testbed if !cfg!(target_arch = "x86_64") => {
                Ok(Some("the machine is no x86-64".to_owned()))
            }
            Self::Fuzz => Ok(None),
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

/// Runs the levels; all of them when none is given.
pub(crate) fn run(workspace: &Workspace, levels: &[Level], extra: &[String]) -> Result<ExitCode> {
    let mut report = Report::default();
    let all = Level::value_variants().iter().copied();
    let levels: Vec<Level> =
        all.filter(|level| levels.is_empty() || levels.contains(level)).collect();
    let mut more: Vec<Package> = Vec::new();
    if levels.contains(&Level::Host) {
        more.push(("openssh-server", "answers the sessions of the tests, on their own loopback"));
    }
    if levels.contains(&Level::Testbed) {
        more.extend(firecracker::PACKAGES);
    }
    packages::install_with(&more)?;
    if levels.contains(&Level::Checks) {
        checks::run(workspace, &mut report)?;
    }
    if levels == [Level::Fuzz] && Level::Fuzz.obstacle()?.is_none() {
        // It needs nothing of what the others need.
        fuzz::run(workspace, extra, &mut report)?;
    } else {
        if levels.iter().any(|level| *level != Level::Checks) {
            programs::build(workspace, Profile::Debug)?;
        }
        if levels.contains(&Level::Unit) {
            promtool::ensure(workspace)?;
        }
        let run = Run { workspace, nextest: Nextest::prepare(workspace)?, extra };
        report.add("levels' borders", outcome(run.nextest.check_borders(workspace))?);
        run.levels(levels, &mut report)?;
    }
    println!("\n{}", report.render());
    Ok(report.exit_code())
}

/// A run of levels, with everything built.
struct Run<'a> {
    workspace: &'a Workspace,
    nextest: Nextest,
    extra: &'a [String],
}

impl Run<'_> {
    /// Runs the levels. The testbed keeps one processor busy and nobody waiting: it runs beside the
    /// others, and what it says comes last.
    fn levels(&self, mut levels: Vec<Level>, report: &mut Report) -> Result<()> {
        levels.retain(|level| *level != Level::Checks);
        let beside = levels.len() > 1 && levels.contains(&Level::Testbed);
        let testbed = if beside && self.prepare(Level::Testbed, report)? {
            let log = self.workspace.scratch("test").join("testbed.log");
            eprintln!("\n== level testbed, beside the others; it writes to {}", log.display());
            let running = root::spawn_to(self.workspace, self.root_args(Level::Testbed), &log)?;
            Some((running, log))
        } else {
            None
        };
        let others = levels.iter().filter(|level| !beside || **level != Level::Testbed);
        let ran = others.copied().try_for_each(|level| {
            interrupt::check()?;
            eprintln!("\n== level {}", level.name());
            self.level(level, report)
        });
        let Some((running, log)) = testbed else { return ran };
        if ran.is_err() {
            running.end()?;
            return ran;
        }
        eprintln!("\nwaiting for the testbed");
        let ended = running.wait().and_then(|status| root::told(status, root::PART));
        eprintln!("\n== level testbed, as it was");
        let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        eprintln!("{}", String::from_utf8_lossy(&text));
        self.add(Level::Testbed, ended, report)
    }

    fn level(&self, level: Level, report: &mut Report) -> Result<()> {
        if !self.prepare(level, report)? {
            return Ok(());
        }
        let ran = match level {
            Level::Fuzz => return fuzz::run(self.workspace, self.extra, report),
            Level::Checks | Level::Unit => self.nextest.run(self.workspace, level, self.extra),
            Level::Host | Level::E2e | Level::Testbed => {
                root::run(self.workspace, self.root_args(level))
            }
        };
        self.add(level, ran, report)?;
        if level == Level::Unit && self.extra.is_empty() {
            // nextest runs no documentation tests.
            let docs = ["test", "--doc", "--workspace", "--quiet"];
            let ran = programs::cargo(self.workspace).args(docs).run();
            report.add("unit: documentation", outcome(ran)?);
        }
        Ok(())
    }

    /// Says whether the level can be run, and puts in place what it needs.
    fn prepare(&self, level: Level, report: &mut Report) -> Result<bool> {
        if let Some(reason) = level.obstacle()? {
            report.add(level.name(), Outcome::CannotRun(reason));
            return Ok(false);
        }
        if matches!(level, Level::E2e | Level::Testbed) {
            programs::set_apart(self.workspace, Profile::Debug, &self.nextest.programs())?;
            let prepared = outcome(root::run(self.workspace, ["bundle"]))?;
            if let Outcome::Failed(_) = prepared {
                report.add("runtime bundle", prepared);
                let reason = "the bundle could not be built".to_owned();
                report.add(level.name(), Outcome::CannotRun(reason));
                return Ok(false);
            }
        }
        for profile in level.profiles() {
            self.nextest.forget_results(self.workspace, profile)?;
        }
        Ok(true)
    }

    fn root_args(&self, level: Level) -> Vec<String> {
        let args = ["level", level.name(), "--"].map(str::to_owned);
        args.into_iter().chain(self.extra.iter().cloned()).collect()
    }

    /// Adds what became of a level.
    fn add(&self, level: Level, ran: Result<()>, report: &mut Report) -> Result<()> {
        let trouble = match outcome(ran)? {
            Outcome::Failed(reason) => Some(reason),
            _ => None,
        };
        let profiles = level.profiles();
        let counts: Vec<_> =
            profiles.iter().map(|profile| self.nextest.counts(self.workspace, profile)).collect();
        let rows = report::of_tests(&counts, trouble.as_deref());
        for (profile, row) in profiles.iter().zip(rows) {
            report.add(if profiles.len() == 1 { level.name() } else { profile }, row);
        }
        Ok(())
    }
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
