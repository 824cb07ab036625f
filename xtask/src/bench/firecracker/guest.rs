//! What the image's init spends the boot on, in its own words.

use crate::bench::client::banger;
use crate::daemon::Daemon;
use anyhow::{Context, Result};
use std::time::Duration;

/// How long the guest may take until it has nothing more to start.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked, and what for.
const QUESTIONS: [&str; 3] = [
    "systemd-analyze time",
    "systemd-analyze blame --no-pager | head -n 10",
    "systemd-analyze critical-chain --no-pager ssh.service",
];

/// What a guest says that has just booted: its commands, each with the answer.
pub(super) fn analyse(daemon: &Daemon, vm: &str) -> Result<String> {
    let ask = |line: &str| {
        let cmd = banger(daemon).args(["vm", "ssh", vm, "--", line]).timeout(PATIENCE);
        cmd.read().with_context(|| format!("the guest does not answer `{line}`"))
    };
    // It fails when a unit has, which does not matter here.
    ask("systemctl is-system-running --wait || true")?;
    let answers = QUESTIONS.map(|line| Ok(format!("$ {line}\n{}\n", ask(line)?.trim_end())));
    Ok(answers.into_iter().collect::<Result<Vec<_>>>()?.join("\n"))
}
