//! Programs that come from cargo and not from Debian: found, or built once into `target/tools`.

use crate::cmd::Cmd;
use crate::programs::cargo;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// A cargo subcommand of a known version.
#[derive(Debug)]
pub(super) struct Tool {
    name: &'static str,
    version: &'static str,
    /// Arguments that end well when it is there.
    probe: &'static [&'static str],
}

/// Runs the tests.
pub(super) const NEXTEST: Tool =
    Tool { name: "cargo-nextest", version: "0.9.143", probe: &["nextest", "--version"] };

/// Checks licences and sources.
pub(super) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", probe: &["--version"] };

impl Tool {
    /// The program. One that is installed is taken as it is.
    pub(super) fn find_or_install(&self, workspace: &Workspace) -> Result<PathBuf> {
        let tools = workspace.target().join("tools");
        let own = tools.join("bin").join(self.name);
        for candidate in [PathBuf::from(self.name), own.clone()] {
            if Cmd::new(&candidate).args(self.probe).probe()?.is_some() {
                return Ok(candidate);
            }
        }
        let Self { name, version, .. } = self;
        eprintln!("{name} is not installed; building it into target/tools takes some minutes");
        // Without optimisation it is built in a third of the time, and does not run noticeably longer.
        cargo(workspace)
            .args(["install", name, "--version", version, "--locked", "--debug", "--root"])
            .arg(&tools)
            .run()
            .with_context(|| format!("install {name} {version} by hand and try again"))?;
        Ok(own)
    }
}
