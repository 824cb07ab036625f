//! The level that runs in the testbed: the tests that need root, once more, with Firecracker and
//! device-mapper on a stock kernel.
//!
//! An emulated host with several processors loses interrupts, so each has one, and there are two
//! hosts. They take part after part of the tests until none is left.

use super::nextest::{Nextest, results};
use super::verdicts::Verdicts;
use super::{Level, copy};
use crate::testbed::{After, End, Session};
use crate::workspace::{self, Profile, Workspace};
use crate::{bundle, enclosure};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The tests' name in the directory that the host sees.
const TESTS: &str = "tests";
/// How many hosts there are.
const HOSTS: usize = 2;
/// Into how many parts the usual pass is split, so that no host is idle for long.
const PARTS: usize = 4;
/// For all tests of a part.
const LIMIT: Duration = Duration::from_secs(2400);
/// For each step of making a file system.
const MOUNT: Duration = Duration::from_secs(60);
/// An emulated host freezes or panics now and then. That is no fault of a test.
const MOST_LOSSES: u32 = 4;
/// Packages with tests that need root.
const PACKAGES: [copy::Package; 2] = [("banger-e2e", "tests/e2e"), ("banger-host", "crates/host")];

/// The tests' first pass has the settings that the host gives to every login.
const USUAL: Pass = Pass { profile: "testbed", settings: &[] };
/// The second has its files where the kernel can clone them.
const REFLINK: Pass = Pass {
    profile: "testbed-reflink",
    settings: &[
        "BANGER_OVERLAY=reflink",
        "BANGER_BUNDLE_DIR=/srv/reflink/bundle",
        "TMPDIR=/srv/reflink",
    ],
};
const REFLINK_DIR: &str = "/srv/reflink";
const REFLINK_IMAGE: &str = "/var/tmp/reflink";

/// A run of tests with settings of its own.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// nextest's profile.
    profile: &'static str,
    settings: &'static [&'static str],
}

/// A part of a pass: the tests whose names have one of several digests.
#[derive(Debug)]
struct Part {
    pass: Pass,
    partition: Option<String>,
}

/// What became of the tests of a part.
#[derive(Debug)]
struct Done {
    profile: &'static str,
    verdicts: Verdicts,
    ran: Result<()>,
}

/// Brings the hosts up, runs all parts in them, and ends them; the part that needs root.
pub(super) fn run_as_root(workspace: &Workspace, extra: &[String]) -> Result<()> {
    let nextest = Nextest::prepared(workspace)?;
    let fill = |share: &Path| {
        copy::make(workspace, &nextest, &PACKAGES, &share.join(TESTS), Path::new(&in_host()))
    };
    let sessions = Session::begin_all(workspace, Profile::Debug, HOSTS, fill)?;
    let ran = run_parts(&sessions, extra).and_then(|done| conclude(workspace, done));
    let kept = std::env::var_os("BANGER_TEST_KEEP").is_some();
    if kept {
        eprintln!("the hosts stay; `cargo xtask testbed ssh` enters the first, `… down` ends them");
    }
    let after = if kept { After::Keep } else { After::End };
    let ended = sessions.into_iter().map(|session| session.end(after)).fold(Ok(()), Result::and);
    bundle::give_back(workspace)?;
    ran.and(ended)
}

/// Runs all parts. One that fails does not keep the others from running.
fn run_parts(sessions: &[Session], extra: &[String]) -> Result<Vec<Done>> {
    let partitions = (1..=PARTS).map(|n| Some(format!("hash:{n}/{PARTS}")));
    let usual = partitions.map(|partition| Part { pass: USUAL, partition });
    let reflink = Part { pass: REFLINK, partition: None };
    // They are taken from the end: the longest comes first, so that no host is left alone with it.
    let parts = Mutex::new(usual.chain([reflink]).collect::<Vec<_>>());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = |session| {
        let mut done = Vec::new();
        while let Some(part) = next() {
            done.push(run(session, &part, extra));
        }
        done
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            sessions.iter().map(|session| scope.spawn(move || work(session))).collect();
        let mut done = Vec::new();
        for worker in workers {
            done.extend(worker.join().map_err(|_payload| anyhow!("a thread panicked"))?);
        }
        Ok(done)
    })
}

/// Writes the results as nextest would, and says whether all is well.
fn conclude(workspace: &Workspace, done: Vec<Done>) -> Result<()> {
    let mut all: BTreeMap<&str, Verdicts> = BTreeMap::new();
    let mut ran = Ok(());
    for part in done {
        all.entry(part.profile).or_default().merge(part.verdicts);
        ran = ran.and(part.ran);
    }
    for (profile, verdicts) in &all {
        let path = workspace.root().join(results(profile));
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, verdicts.junit(profile)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    ran?;
    let failed: u32 = all.values().map(|verdicts| verdicts.counts().failed).sum();
    if failed > 0 { bail!("{failed} tests failed in the testbed") } else { Ok(()) }
}

/// Runs all tests of a part once. Where the host does not live through it, goes on with the rest.
fn run(session: &Session, part: &Part, extra: &[String]) -> Done {
    let mut verdicts = Verdicts::default();
    let ran = attempts(session, part, extra, &mut verdicts);
    Done { profile: part.pass.profile, verdicts, ran }
}

fn attempts(
    session: &Session,
    part: &Part,
    extra: &[String],
    verdicts: &mut Verdicts,
) -> Result<()> {
    for _ in 0..=MOST_LOSSES {
        if part.pass.profile == REFLINK.profile {
            ensure_reflink(session)?;
        }
        let mut args: Vec<String> = Vec::new();
        args.extend(
            part.partition.iter().flat_map(|part| ["--partition".to_owned(), part.clone()]),
        );
        args.extend(verdicts.rest().into_iter().flat_map(|rest| ["-E".to_owned(), rest]));
        args.extend_from_slice(extra);
        let ran = session.run(&command(part.pass, args), LIMIT)?;
        verdicts.add(&ran.stdout);
        match ran.end {
            End::Exited(status) => return crate::root::told(status, "what ran in the host"),
            End::Lost(why) => {
                eprintln!("{why}; the tests without a verdict are run again");
                session.await_up()?;
            }
        }
    }
    bail!("the host was lost {} times", MOST_LOSSES + 1)
}

fn command(pass: Pass, args: Vec<String>) -> Vec<String> {
    let home = in_host();
    let mut command = vec!["env".to_owned()];
    command.push(format!("{}={home}", workspace::ROOT));
    command.push(format!("CARGO_TARGET_DIR={home}/target"));
    command
        .extend(std::env::var("BANGER_TEST_KEEP").map(|keep| format!("BANGER_TEST_KEEP={keep}")));
    command.push(format!("NEXTEST_PROFILE={}", pass.profile));
    command.extend(pass.settings.iter().map(|&setting| setting.to_owned()));
    command.extend(enclosure::MAKE.map(str::to_owned));
    command.push(format!("{home}/xtask"));
    command.extend([enclosure::HOLD, "level", Level::Testbed.name(), "--"].map(str::to_owned));
    command.extend(args);
    command
}

/// A file system that can clone files, unless it is there already.
fn ensure_reflink(session: &Session) -> Result<()> {
    if session.look(&["findmnt", REFLINK_DIR])?.is_some() {
        return Ok(());
    }
    for command in [
        &["truncate", "--size=8G", REFLINK_IMAGE][..],
        &["mkfs.xfs", "-q", "-m", "reflink=1", REFLINK_IMAGE],
        &["mkdir", "-p", REFLINK_DIR],
        &["mount", "-o", "loop", REFLINK_IMAGE, REFLINK_DIR],
        // What is cloned has to be on the same file system.
        &["cp", "-r", "--sparse=always", "/opt/bundle", REFLINK_DIR],
    ] {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        session.run(&command, MOUNT)?.check("making a file system in the host")?;
    }
    Ok(())
}

fn in_host() -> String {
    format!("{}/{TESTS}", Session::SHARE)
}
