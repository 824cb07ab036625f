//! Fuzzing: each target of `fuzz/` for some seconds, from its seeds on.
//!
//! libFuzzer comes as a crate, and what it needs of the compiler are flags that a stable one has.
//! `cargo fuzz` gives the same ones, but would take longer to install than everything here to build.
//!
//! ```text
//! fuzz/corpus/<target>/            seeds, committed; never written here
//! target/xtask/fuzz/<target>/      what it says
//!   found/                         inputs that reach more, kept for the next run
//!   crash/                         inputs that break it
//! ```

use super::report::{Counts, Outcome, Report};
use super::{Level, outcome};
use crate::cmd::{Cmd, Running};
use crate::programs::{TARGET, cargo};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

/// Counts how often each branch is taken and what is compared with what, and keeps branches apart
/// that an optimiser would make one.
const FLAGS: [&str; 10] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    // Functions with counters are not inlined across the borders of units.
    "-Ccodegen-units=1",
    "--cfg",
    "fuzzing",
];

/// For how many seconds a target runs for which the manifest does not say it.
const SECONDS: u64 = 20;
/// How much longer it may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is fuzzed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    seconds: u64,
}

/// Fuzzes the targets that are named; all when none is.
pub(super) fn run(workspace: &Workspace, named: &[String], report: &mut Report) -> Result<()> {
    let mut counts = Counts::default();
    let trouble = match outcome(fuzz(workspace, named, &mut counts))? {
        Outcome::Failed(reason) => Some(reason),
        _ => None,
    };
    report.add(Level::Fuzz.name(), Outcome::Tests { counts, trouble });
    Ok(())
}

fn fuzz(workspace: &Workspace, named: &[String], counts: &mut Counts) -> Result<()> {
    let mut targets = targets(workspace)?;
    targets.retain(|target| named.is_empty() || named.contains(&target.name));
    // Those that run at once end at about the same time.
    targets.sort_by_key(|target| std::cmp::Reverse(target.seconds));
    let dir = build(workspace)?;
    let at_once = available_parallelism().map_or(1, NonZero::get);
    for targets in targets.chunks(at_once) {
        let begin = |target: &Target| Run::begin(workspace, &dir, target);
        let runs = targets.iter().map(begin).collect::<Result<Vec<_>>>()?;
        for run in runs {
            match outcome(run.end())? {
                Outcome::Failed(_) => counts.failed += 1,
                _ => counts.passed += 1,
            }
        }
    }
    Ok(())
}

/// Builds all targets, and says where they are.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    cargo(workspace)
        .env("RUSTFLAGS", FLAGS.join(" "))
        // Naming the target keeps the flags from the build scripts.
        .args(["build", "--package", "banger-fuzz", "--bins", "--profile", "fuzz"])
        .args(["--target", TARGET])
        .run()?;
    Ok(workspace.target().join(TARGET).join("fuzz"))
}

/// A target that runs.
#[derive(Debug)]
struct Run {
    name: String,
    program: PathBuf,
    log: PathBuf,
    running: Running,
}

impl Run {
    fn begin(workspace: &Workspace, programs: &Path, target: &Target) -> Result<Self> {
        let Target { name, seconds } = target;
        let dir = workspace.scratch("fuzz").join(name);
        let (found, crash) = (dir.join("found"), dir.join("crash"));
        for dir in [&found, &crash] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let (program, log) = (programs.join(name), dir.join("log"));
        let running = Cmd::new(&program)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", crash.display()))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
            // New inputs go into the first of these.
            .arg(found)
            .arg(workspace.root().join("fuzz/corpus").join(name))
            .timeout(Duration::from_secs(*seconds) + PATIENCE)
            .spawn_to(&log)?;
        Ok(Self { name: name.clone(), program, log, running })
    }

    fn end(self) -> Result<()> {
        let Self { name, program, log, running } = self;
        let status = running.wait()?;
        let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let text = String::from_utf8_lossy(&text);
        if status.success() {
            let tried = tried(&text).context("libFuzzer does not say how much it has tried")?;
            eprintln!("{name}: {tried} inputs tried");
            return Ok(());
        }
        eprintln!("\nthe fuzz target {name} failed; it said:\n{}", last_words(&text));
        match breaking(&text) {
            Some(input) => bail!(
                "{name} is broken by an input; look at it with `{} {input}`, and add it to \
                 fuzz/corpus/{name} with the fix",
                program.display()
            ),
            None => bail!("{name} ended with {status}; {} has all it said", log.display()),
        }
    }
}

/// How many inputs there were.
fn tried(log: &str) -> Option<u64> {
    let line = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line?.trim().parse().ok()
}

/// Where the input is that ended the run.
fn breaking(log: &str) -> Option<&str> {
    let (_, rest) = log.split_once("Test unit written to ")?;
    rest.lines().next()
}

/// What a target says when it breaks, without the progress before it.
fn last_words(log: &str) -> String {
    let is_progress = |line: &&str| line.starts_with('#') && line.contains("exec/s");
    let lines: Vec<&str> = log.lines().filter(|line| !is_progress(line)).collect();
    let last = lines.len().saturating_sub(40);
    lines[last..].iter().map(|line| format!("  {line}\n")).collect()
}

fn targets(workspace: &Workspace) -> Result<Vec<Target>> {
    let path = workspace.root().join("fuzz/Cargo.toml");
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    named_in(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// The part of the manifest that is of interest here.
#[derive(Debug, Deserialize)]
struct Manifest {
    bin: Vec<Bin>,
    package: Package,
}

#[derive(Debug, Deserialize)]
struct Bin {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Package {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    seconds: BTreeMap<String, u64>,
}

fn named_in(manifest: &str) -> Result<Vec<Target>> {
    let Manifest { bin, package: Package { metadata } } = toml::from_str(manifest)?;
    let target = |Bin { name }| {
        let seconds = metadata.seconds.get(&name).copied().unwrap_or(SECONDS);
        Target { name, seconds }
    };
    Ok(bin.into_iter().map(target).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_in_the_manifest_with_their_seconds() {
        let manifest = "bin = [{ name = \"a\" }, { name = \"b\" }]\n[package]\nname = \"f\"\n\
                        [package.metadata.seconds]\nb = 60\n";
        let target = |name: &str, seconds| Target { name: name.to_owned(), seconds };
        assert_eq!(named_in(manifest).unwrap(), [target("a", SECONDS), target("b", 60)]);
        assert!(named_in(&manifest.replace("60", "\"long\"")).is_err());
    }

    #[test]
    fn every_target_has_seeds() {
        let workspace = Workspace::of_this_source();
        let targets = targets(&workspace).unwrap();
        assert!(targets.iter().any(|target| target.name == "dns"), "{targets:?}");
        for Target { name, .. } in targets {
            let dir = workspace.root().join("fuzz/corpus").join(&name);
            let seeds = fs::read_dir(&dir).map_or(0, Iterator::count);
            assert!(seeds > 0, "{} is empty", dir.display());
        }
    }

    #[test]
    fn a_broken_target_is_told_from_a_good_one_by_its_log() {
        let good = "#2\tINITED cov: 9 exec/s: 0\nstat::number_of_executed_units: 1234\n";
        assert_eq!((tried(good), breaking(good)), (Some(1234), None));
        let bad = "#2\tNEW cov: 9 exec/s: 0\nthread panicked\n\
                   artifact_prefix='/c/'; Test unit written to /c/crash-12\nBase64: QQ==\n";
        assert_eq!(breaking(bad), Some("/c/crash-12"));
        assert!(last_words(bad).starts_with("  thread panicked\n"));
    }
}
