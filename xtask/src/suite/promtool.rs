//! Prometheus's linter, which reads the daemon's metrics in a test. It comes from the Debian package
//! `prometheus`, which is not installed: that would start a server.

use crate::cmd::Cmd;
use crate::packages;
use crate::programs::place;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::Duration;

const PACKAGE: &str = "prometheus";
/// Where it is in the package.
const MEMBER: &str = "usr/bin/promtool";
/// Twenty megabytes on a slow line.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// Puts the program into `target/tools`, where the test looks for it, unless it is there.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let program = workspace.target().join("tools/promtool");
    if Cmd::new(&program).arg("--version").probe()?.is_some() {
        return Ok(());
    }
    eprintln!("taking promtool out of the Debian package `{PACKAGE}`");
    let part = workspace.scratch("promtool");
    fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    let taken = take_out(&part, &program);
    fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    taken
}

fn take_out(part: &Path, program: &Path) -> Result<()> {
    // The lists may be older than what the archive has now, or missing.
    if download(part).is_err() {
        packages::refresh()?;
        download(part)?;
    }
    let archive = fs::read_dir(part)
        .with_context(|| format!("cannot list {}", part.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get has left no package")?;
    Cmd::new("dpkg-deb").arg("--extract").arg(&archive).arg(part).run()?;
    if let Some(tools) = program.parent() {
        fs::create_dir_all(tools).with_context(|| format!("cannot create {}", tools.display()))?;
    }
    place(&part.join(MEMBER), program)
}

fn download(part: &Path) -> Result<()> {
    // Who is root would otherwise download as a user who may not write here.
    let sandbox = ["-o", "APT::Sandbox::User=root"];
    let cmd = Cmd::new("apt-get").dir(part).timeout(DOWNLOAD).arg("-q").args(sandbox);
    cmd.args(["download", PACKAGE]).run()
}
