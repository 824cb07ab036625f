//! Going on as root.

use crate::cmd::{Cmd, Running};
use crate::enclosure;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// Longer than the enclosure's own, so that that one decides.
const GRACE: Duration = Duration::from_secs(180);

/// What that is called when it fails.
pub(crate) const PART: &str = "the part that runs as root";

/// The variables that also mean something to the part that runs as root.
const KEPT: [&str; 7] = [
    "PATH",
    "CI",
    "BANGER_VMM",
    "BANGER_FIRECRACKER_BIN",
    "BANGER_OVERLAY",
    "BANGER_LOG_LEVEL",
    "BANGER_TEST_KEEP",
];

/// Finds out early whether root can be had. Where `sudo` asks for a password it asks now, while the
/// user is there, and not after a long build.
pub(crate) fn ensure_possible() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Cmd::as_root("true")
        .silent()
        .run()
        .context("this needs root: run it as root, or as a user who may use sudo")
}

/// Runs `xtask root <args>`, through `sudo` where xtask does not run as root.
pub(crate) fn run<I: IntoIterator<Item: AsRef<OsStr>>>(
    workspace: &Workspace,
    args: I,
) -> Result<()> {
    told(cmd(workspace, args)?.status()?, PART)
}

/// Starts the same with its output in a file.
pub(crate) fn spawn_to<I: IntoIterator<Item: AsRef<OsStr>>>(
    workspace: &Workspace,
    args: I,
    log: &Path,
) -> Result<Running> {
    cmd(workspace, args)?.spawn_to(log)
}

fn cmd<I: IntoIterator<Item: AsRef<OsStr>>>(workspace: &Workspace, args: I) -> Result<Cmd> {
    let own = enclosure::own_program()?;
    let cmd = if rustix::process::geteuid().is_root() {
        Cmd::new(own)
    } else {
        // sudo keeps no variables, env(1) sets them again.
        Cmd::as_root("env").args(kept_variables(workspace)).arg(own)
    };
    Ok(cmd.arg("root").args(args).watches_input().grace(GRACE))
}

/// The error of another xtask process, which has already told the user about it.
#[derive(Debug)]
pub(crate) struct Told(String);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

/// How another xtask process ended.
pub(crate) fn told(status: ExitStatus, what: &str) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Told(format!("{what} failed (exit code {code})")).into()),
        None => bail!("{what} was killed ({status})"),
    }
}

fn kept_variables(workspace: &Workspace) -> Vec<OsString> {
    let mut kept = vec![assignment("CARGO_TARGET_DIR", workspace.target().as_os_str())];
    for name in KEPT {
        kept.extend(std::env::var_os(name).map(|value| assignment(name, &value)));
    }
    kept
}

fn assignment(name: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(name);
    text.push("=");
    text.push(value);
    text
}
