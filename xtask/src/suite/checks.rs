//! Everything about the source that is checked without running it.

use super::outcome;
use super::report::{Outcome, Report};
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
    report.add("licences", licences(workspace)?);
    Ok(())
}

/// cargo-deny takes minutes to build, so it is used where it is installed and never installed here.
fn licences(workspace: &Workspace) -> Result<Outcome> {
    if cargo(workspace).args(["deny", "--version"]).probe()?.is_none() {
        let reason = "cargo-deny is not installed (`cargo install cargo-deny --locked`)";
        return Ok(Outcome::CannotRun(reason.to_owned()));
    }
    outcome(cargo(workspace).args(["deny", "check", "bans", "licenses", "sources"]).run())
}
