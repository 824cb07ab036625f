//! The measurement in the testbed's host: Firecracker, KVM and device-mapper on a stock kernel.
//!
//! The host gets a copy of xtask and of the programs, and the same xtask measures there.

use super::machine::{self, Machine};
use crate::testbed::{After, End, Session};
use crate::workspace::{self, Profile, Workspace};
use crate::{bundle, enclosure, programs};
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// The copy's name in the directory that the host sees.
const COPY: &str = "bench";
/// Where the host has the runtime bundle.
const BUNDLE: &str = "/opt/bundle";
/// For everything. A boot takes 40 to 90 s there, and there are two in each round.
const ALL: Duration = Duration::from_secs(3600);
/// An emulated host freezes or panics now and then, and takes along what was measured.
const ATTEMPTS: usize = 2;

/// Brings the host up, measures in it, and ends it; the part that needs root.
pub(crate) fn run_as_root(workspace: &Workspace) -> Result<()> {
    let machine = Machine::read()?;
    let load = machine::load()?;
    let fill = |share: &Path| copy(workspace, &share.join(COPY));
    let session = Session::begin(workspace, Profile::Release, fill)?;
    let measured = measure(&session);
    let ended = session.end(After::End);
    bundle::give_back(workspace)?;
    let tables = measured?;
    ended?;
    println!(
        "\nMachine: {machine}. Load average before: {load}. It plays the host below.\n\n{}",
        tables.trim_end()
    );
    Ok(())
}

fn measure(session: &Session) -> Result<String> {
    for attempt in 1..=ATTEMPTS {
        let ran = session.run(&command(), ALL)?;
        match &ran.end {
            End::Lost(why) if attempt < ATTEMPTS => {
                eprintln!("{why}; everything is measured again");
                session.await_up()?;
            }
            _ => return ran.check("what ran in the host"),
        }
    }
    bail!("the host was lost {ATTEMPTS} times")
}

fn command() -> Vec<String> {
    let home = format!("{}/{COPY}", Session::SHARE);
    let mut command = vec!["env".to_owned(), format!("{}={home}", workspace::ROOT)];
    command.push(format!("CARGO_TARGET_DIR={home}/target"));
    command.extend(enclosure::MAKE.map(str::to_owned));
    command.push(format!("{home}/xtask"));
    command.extend([enclosure::HOLD, "bench-firecracker"].map(str::to_owned));
    command
}

/// A workspace with the programs and nothing else.
fn copy(workspace: &Workspace, copy: &Path) -> Result<()> {
    let target = copy.join("target");
    programs::set_apart(workspace, Profile::Release, &target.join(Profile::Release.dir()))?;
    programs::place(&enclosure::own_program()?, &copy.join("xtask"))?;
    match symlink(BUNDLE, target.join("bundle")) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot write {}", target.display()))
        }
        _ => Ok(()),
    }
}
