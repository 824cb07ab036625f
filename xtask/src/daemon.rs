//! A daemon of xtask's own, apart from any other on the machine.

use crate::cmd::{Cmd, Running};
use crate::interrupt;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use serde::Deserialize;
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(60);
/// How long a daemon may take to end.
const STOP: Duration = Duration::from_secs(60);

/// Where a daemon keeps its things.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    workspace: Workspace,
    dir: PathBuf,
    runtime: PathBuf,
    profile: Profile,
    config: Cow<'static, str>,
    args: &'static [&'static str],
}

impl Home {
    /// The home for a task.
    pub(crate) fn new(workspace: &Workspace, task: &str, profile: Profile) -> Self {
        let dir = workspace.scratch(task);
        // A socket's path has at most 107 bytes; a workspace can be deeper than that.
        let mark = fnv1a(dir.as_os_str().as_encoded_bytes());
        let runtime = PathBuf::from(format!("/run/banger-xtask-{mark:016x}"));
        let config = "# The defaults, whatever the user's own configuration says.\n";
        Self {
            workspace: workspace.clone(),
            dir,
            runtime,
            profile,
            config: config.into(),
            args: &[],
        }
    }

    /// The same home for a daemon with this configuration.
    pub(crate) fn configured(self, config: impl Into<Cow<'static, str>>) -> Self {
        Self { config: config.into(), ..self }
    }

    /// The same home for a daemon that simulates its host.
    pub(crate) fn simulated(self) -> Self {
        Self { args: &["--sim"], ..self }
    }

    /// The client, told where this daemon is.
    pub(crate) fn banger(&self) -> Cmd {
        Cmd::new(self.workspace.program(self.profile, "banger")).surroundings(&self.env())
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn env(&self) -> [(&'static str, PathBuf); 6] {
        [
            ("BANGER_CONFIG", self.dir.join("config.toml")),
            ("BANGER_STATE_DIR", self.state()),
            ("BANGER_RUNTIME_DIR", self.runtime.clone()),
            ("BANGER_CACHE_DIR", self.dir.join("cache")),
            ("BANGER_BUNDLE_DIR", self.workspace.bundle()),
            ("BANGER_NO_AUTOSTART", PathBuf::from("1")),
        ]
    }

    fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let config = self.dir.join("config.toml");
        fs::write(&config, self.config.as_bytes())
            .with_context(|| format!("cannot write {}", config.display()))
    }
}

/// A daemon that runs. It does not outlive this value.
#[derive(Debug)]
pub(crate) struct Daemon {
    home: Home,
    running: Running,
}

/// The part of `banger daemon status --json` that is of interest here.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    /// The VMM for new VMs, and why.
    pub(crate) vmm: Choice,
}

/// Something that the daemon chose.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    /// What.
    pub(crate) chosen: String,
    /// Why, in one sentence.
    pub(crate) because: String,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    pub(crate) fn start(home: Home) -> Result<Self> {
        home.prepare()?;
        let log = home.dir.join("bangerd.out");
        let running = Cmd::new(home.workspace.program(home.profile, "bangerd"))
            .args(home.args)
            .surroundings(&home.env())
            .spawn_to(&log)?;
        let daemon = Self { home, running };
        let deadline = Instant::now() + START;
        while daemon.home.banger().args(["daemon", "status"]).probe()?.is_none() {
            interrupt::check()?;
            if daemon.running.wait_for(Duration::from_millis(50))? {
                bail!("the daemon ended at once; it said:\n{}", tail(&log));
            }
            if Instant::now() > deadline {
                bail!("the daemon does not answer; it said:\n{}", tail(&log));
            }
        }
        Ok(daemon)
    }

    /// The client for it.
    pub(crate) fn banger(&self) -> Cmd {
        self.home.banger()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// What it says of itself.
    pub(crate) fn status(&self) -> Result<Status> {
        let text = self.banger().args(["--json", "daemon", "status"]).silent().read()?;
        serde_json::from_str(&text).context("cannot understand the daemon's status")
    }

    /// Ends it in good order.
    pub(crate) fn stop(self) -> Result<()> {
        let stopped = self.running.stop(STOP);
        if self.home.runtime.exists() {
            fs::remove_dir_all(&self.home.runtime)
                .with_context(|| format!("cannot remove {}", self.home.runtime.display()))?;
        }
        let status = stopped?;
        if !status.success() {
            let log = self.home.dir.join("bangerd.out");
            bail!("the daemon failed ({status}); it said:\n{}", tail(&log));
        }
        Ok(())
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_else(|error| format!("(no log: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(15);
    lines[last..].iter().map(|line| format!("  {line}\n")).collect()
}

/// A short digest that stays the same; it need not withstand anybody.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_workspace_still_has_room_for_a_socket() {
        let workspace = Workspace::new(PathBuf::from("/deep".repeat(40)));
        let home = Home::new(&workspace, "quickstart", Profile::Release);
        assert!(home.runtime.as_os_str().len() < 60);
    }

    #[test]
    fn two_workspaces_do_not_share_a_runtime_directory() {
        let home = |root: &str| {
            Home::new(&Workspace::new(root.into()), "quickstart", Profile::Release).runtime
        };
        assert_ne!(home("/a"), home("/b"));
        assert_eq!(home("/a"), home("/a"));
    }
}
