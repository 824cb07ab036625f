//! The level that runs in the testbed: the tests that need root, once more, with Firecracker and
//! device-mapper on a stock kernel.

use super::nextest::{Nextest, results};
use super::report::Counts;
use super::verdicts::Verdicts;
use super::{Level, copy};
use crate::testbed::{After, End, Session};
use crate::workspace::{self, Profile, Workspace};
use crate::{bundle, enclosure};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The tests' name in the directory that the host sees.
const TESTS: &str = "tests";
/// For all tests of a pass.
const PASS: Duration = Duration::from_secs(2400);
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

/// Brings the host up, runs all passes in it, and ends it; the part that needs root.
pub(super) fn run_as_root(workspace: &Workspace, extra: &[String]) -> Result<()> {
    let nextest = Nextest::prepared(workspace)?;
    let fill = |share: &Path| {
        copy::make(workspace, &nextest, &PACKAGES, &share.join(TESTS), Path::new(&in_host()))
    };
    let session = Session::begin(workspace, Profile::Debug, fill)?;
    // A pass that fails does not keep the next from running.
    let ran = [USUAL, REFLINK]
        .map(|pass| run(workspace, &session, pass, extra))
        .into_iter()
        .collect::<Result<()>>();
    let kept = std::env::var_os("BANGER_TEST_KEEP").is_some();
    if kept {
        eprintln!("the host stays; `cargo xtask testbed ssh` enters it, `… down` ends it");
    }
    let ended = session.end(if kept { After::Keep } else { After::End });
    bundle::give_back(workspace)?;
    ran.and(ended)
}

fn run(workspace: &Workspace, session: &Session, pass: Pass, extra: &[String]) -> Result<()> {
    let mut verdicts = Verdicts::default();
    let ran = run_all(session, pass, extra, &mut verdicts);
    let path = workspace.root().join(results(pass.profile));
    let dir = path.parent().unwrap_or(&path);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, verdicts.junit(pass.profile)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    ran?;
    match verdicts.counts() {
        Counts { failed: 0, .. } => Ok(()),
        Counts { failed, .. } => bail!("{failed} tests of `{}` failed", pass.profile),
    }
}

/// Runs all tests once. Where the host does not live through it, goes on with the rest.
fn run_all(session: &Session, pass: Pass, extra: &[String], verdicts: &mut Verdicts) -> Result<()> {
    for _ in 0..=MOST_LOSSES {
        if pass.profile == REFLINK.profile {
            ensure_reflink(session)?;
        }
        let rest = verdicts.rest().map(|rest| ["-E".to_owned(), rest]);
        let ran = session.run(&command(pass, rest.iter().flatten().chain(extra)), PASS)?;
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

fn command<'a>(pass: Pass, extra: impl Iterator<Item = &'a String>) -> Vec<String> {
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
    command.extend(extra.cloned());
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
