//! Everything about the source that is checked without running it.

use super::outcome;
use super::report::Report;
use super::tools;
use crate::cmd::Cmd;
use crate::programs::cargo;
use crate::tidy;
use crate::workspace::Workspace;
use anyhow::Result;

/// Runs all checks; one that fails does not keep the others from running.
pub(super) fn run(workspace: &Workspace, report: &mut Report) -> Result<()> {
    eprintln!("\n== checks");
    report.add("formatting", outcome(cargo(workspace).args(["fmt", "--all", "--check"]).run())?);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    report.add("lints", outcome(cargo(workspace).args(clippy).run())?);
    report.add("house rules", outcome(tidy::check(workspace))?);
    report.add("licences", outcome(licences(workspace))?);
    Ok(())
}

fn licences(workspace: &Workspace) -> Result<()> {
    let program = tools::DENY.find_or_install(workspace)?;
    // What is double is a warning with a page of its own; `cargo deny check` shows it.
    Cmd::new(program)
        .args(["--log-level", "error", "check", "bans", "licenses", "sources"])
        .dir(workspace.root())
        .run()
}
