//! Uploads of a tree to an sshd: as a build makes them, and by `tar` and `ssh`.

use super::sshd::{ADDRESS, Sshd};
use super::tree::Tree;
use super::{Pair, fresh, remove};
use crate::cmd::{Cmd, Cost};
use crate::workspace::{Profile, Workspace};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROUNDS: usize = 15;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// With what each side agrees on with sshd by itself.
    pub(super) pair: Pair,
    /// With `ssh` told to take banger's cipher; absent where it takes that by itself.
    pub(super) same: Option<Pair>,
    pub(super) ours: String,
    pub(super) theirs: String,
}

/// The two ways.
struct Ways<'a> {
    program: PathBuf,
    server: &'a Sshd,
    tree: &'a Tree,
    target: PathBuf,
}

/// Measures.
pub(super) fn measure(workspace: &Workspace, tree: &Tree, dir: &Path) -> Result<Upload> {
    let server = Sshd::start(dir)?;
    let ways = Ways {
        program: workspace.program(Profile::Release, "examples/upload"),
        server: &server,
        tree,
        target: dir.join("arrived"),
    };
    let measured = ways.measure(dir);
    let stopped = server.stop();
    let upload = measured?;
    stopped?;
    Ok(upload)
}

impl Ways<'_> {
    fn measure(&self, dir: &Path) -> Result<Upload> {
        self.ours()?;
        let ours = self.server.last_cipher()?;
        self.theirs(None)?;
        let theirs = self.server.last_cipher()?;
        let pair =
            |what, cipher| Pair::measure(what, ROUNDS, dir, || self.ours(), || self.theirs(cipher));
        let as_they_like = pair("uploading", None)?;
        let same = (ours != theirs).then(|| pair("uploading with one cipher", Some(&*ours)));
        Ok(Upload { pair: as_they_like, same: same.transpose()?, ours, theirs })
    }

    fn ours(&self) -> Result<Cost> {
        fresh(&self.target)?;
        let Sshd { key, host_key, .. } = self.server;
        let upload = Cmd::new(&self.program).arg(ADDRESS.to_string()).args([key, host_key]);
        self.arrived(upload.args([&self.tree.dir, &self.target]).timeout(PATIENCE).measure()?)
    }

    fn theirs(&self, cipher: Option<&str>) -> Result<Cost> {
        fresh(&self.target)?;
        let Sshd { key, known_hosts, .. } = self.server;
        let pack = Cmd::new("tar").arg("-C").arg(&self.tree.dir).args(["-c", "-f", "-", "."]);
        let mut ssh = Cmd::new("ssh").args(["-F", "none", "-T", "-i"]).arg(key);
        for option in ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"] {
            ssh = ssh.args(["-o", option]);
        }
        ssh = ssh.args(["-o", &format!("UserKnownHostsFile={}", known_hosts.display())]);
        if let Some(cipher) = cipher {
            ssh = ssh.args(["-c", cipher]);
        }
        let (ip, port) = (ADDRESS.ip().to_string(), ADDRESS.port().to_string());
        let ssh = ssh.args(["-p", &port, "-l", "root", &ip]);
        let unpack = ssh.args(["tar", "-x", "-f", "-", "-C"]).arg(&self.target);
        self.arrived(pack.timeout(PATIENCE).measure_into(unpack.timeout(PATIENCE))?)
    }

    /// Checks that all has arrived, and removes it.
    fn arrived(&self, cost: Cost) -> Result<Cost> {
        self.tree.check_copy(&self.target)?;
        remove(&self.target)?;
        Ok(cost)
    }
}
