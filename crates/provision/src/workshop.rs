//! What is done in a guest to make an image of it, step by step.

use crate::call::Call;
use crate::error::{ProvisionError, UploadError};
use crate::guest::{Ended, Guest, LineSink};
use crate::list::PackageList;
use crate::manager::{Installed, PackageManager};
use crate::modules::ModulesTree;
use crate::upload::{Source, hexadecimal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where scripts are put while they run.
const SCRIPTS: &str = "/var/tmp/banger-build";
/// For a script of the user's, and for what they upload.
const LONG: Duration = Duration::from_secs(3600);

/// What the fenced part of a file begins and ends with that banger-init writes.
const FENCE: &str = "/^# banger: begin/,/^# banger: end/d";

/// A guest in which work is done. What its programs say goes to a sink.
pub struct Workshop<'a> {
    guest: &'a dyn Guest,
    lines: &'a mut LineSink<'a>,
}

impl std::fmt::Debug for Workshop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("guest", &self.guest).finish_non_exhaustive()
    }
}

/// Which distribution a guest runs, as os-release(5) says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `debian`, `alpine` and so on; empty if the guest does not say.
    pub id: String,
    /// `12`; empty if the guest does not say.
    pub version: String,
}

/// A script of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Where it was read from.
    pub path: PathBuf,
    /// What it says.
    pub bytes: Vec<u8>,
}

impl Script {
    /// Its SHA-256, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&Sha256::digest(&self.bytes))
    }
}

impl Distribution {
    fn parse(text: &str) -> Self {
        let field = |wanted: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let value = lines.find(|(key, _)| *key == wanted).map(|(_, value)| value);
            value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        Self { id: field("ID"), version: field("VERSION_ID") }
    }
}

impl<'a> Workshop<'a> {
    /// Work in this guest.
    pub fn new(guest: &'a dyn Guest, lines: &'a mut LineSink<'a>) -> Self {
        Self { guest, lines }
    }

    /// The distribution.
    ///
    /// # Errors
    ///
    /// When the session breaks off.
    pub async fn distribution(&mut self) -> Result<Distribution, ProvisionError> {
        let action = "learn the guest's distribution";
        let ended = self.run(action, Call::new(["cat", "/etc/os-release"]).kept()).await?;
        Ok(Distribution::parse(&String::from_utf8_lossy(&ended.stdout)))
    }

    /// The package manager, if it is one that banger knows.
    ///
    /// # Errors
    ///
    /// When the session breaks off.
    pub async fn manager(&mut self) -> Result<Option<PackageManager>, ProvisionError> {
        let action = "look for a package manager";
        for manager in PackageManager::ALL {
            if self.run(action, manager.probe()).await?.exit.is_good() {
                return Ok(Some(manager));
            }
        }
        Ok(None)
    }

    /// Installs packages.
    ///
    /// # Errors
    ///
    /// When one cannot be had or installed.
    pub async fn install(
        &mut self,
        manager: PackageManager,
        list: &PackageList,
    ) -> Result<(), ProvisionError> {
        self.must("bring the lists of packages up to date", manager.refresh()).await?;
        self.must("install the packages", manager.install(list)).await
    }

    /// Puts kernel modules in place, and has their dependencies written down.
    ///
    /// # Errors
    ///
    /// When they cannot be read or sent, or the guest has no `depmod`.
    pub async fn modules(&mut self, tree: &ModulesTree) -> Result<(), ProvisionError> {
        for (release, path) in &tree.releases {
            let action = format!("install the modules of {release}");
            let target = format!("/lib/modules/{release}");
            self.put(&action, Source::Tree { path: path.clone() }, &target).await?;
            self.must(&action, Call::new(["depmod", "-a", release])).await?;
        }
        Ok(())
    }

    /// Puts a file, or what is in a directory, at a place in the guest. A file goes into a place
    /// that ends in `/` under its own name.
    ///
    /// # Errors
    ///
    /// When it cannot be read or sent.
    pub async fn copy(&mut self, from: &Path, to: &str) -> Result<(), ProvisionError> {
        let action = format!("copy `{}`", from.display());
        let read = |source| UploadError { path: from.to_owned(), source };
        // A link that the user names stands for what it leads to.
        let path = from.canonicalize().map_err(read)?;
        if !is_place(to) {
            return Err(ProvisionError::Place { path: to.to_owned() });
        }
        if path.is_dir() {
            return self.put(&action, Source::Tree { path }, to).await;
        }
        let own = || from.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (dir, name) = match to.rsplit_once('/') {
            Some((dir, "")) => (dir, own()),
            Some((dir, name)) => (dir, name),
            None => return Err(ProvisionError::Place { path: to.to_owned() }),
        };
        let dir = if dir.is_empty() { "/" } else { dir };
        self.put(&action, Source::File { path, name: name.to_owned() }, dir).await
    }

    /// Runs a script of the user's. It may be in any language that the guest knows.
    ///
    /// # Errors
    ///
    /// When it ends with anything but exit code 0.
    pub async fn script(&mut self, script: &Script, number: usize) -> Result<(), ProvisionError> {
        let action = format!("run the script `{}`", script.path.display());
        let bytes = script.bytes.clone();
        let name = format!("script-{number}");
        let program = format!("{SCRIPTS}/{name}");
        self.put(&action, Source::Bytes { name, bytes, mode: 0o700 }, SCRIPTS).await?;
        self.must(&action, Call::new([program]).limit(LONG)).await
    }

    /// What is installed now.
    ///
    /// # Errors
    ///
    /// When the package manager does not say.
    pub async fn installed(
        &mut self,
        manager: PackageManager,
    ) -> Result<Vec<Installed>, ProvisionError> {
        let printed = self.must_print("list what is installed", manager.query()).await?;
        Ok(manager.parse(&printed))
    }

    /// Takes away what belongs to this guest and not to an image: caches, logs, its identity, its
    /// keys, and the key that this session came in with. No second session can be opened after it.
    ///
    /// # Errors
    ///
    /// When the identity or a key cannot be removed. What else stays is only of no use.
    pub async fn clean(&mut self, manager: Option<PackageManager>) -> Result<(), ProvisionError> {
        let action = "clean the guest";
        for call in manager.into_iter().flat_map(PackageManager::clean).chain(litter()) {
            let shown = call.shown();
            let ended = self.run(action, call).await?;
            if !ended.exit.is_good() {
                tracing::debug!(command = shown, exit = %ended.exit, "not cleaned");
            }
        }
        for call in identity() {
            self.must(action, call).await?;
        }
        Ok(())
    }

    /// Has the guest write to its disk all that is still in its memory.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn sync(&mut self) -> Result<(), ProvisionError> {
        self.must("write everything to the guest's disk", Call::new(["sync"])).await
    }

    /// Unpacks something in a directory of the guest's.
    async fn put(&mut self, action: &str, what: Source, dir: &str) -> Result<(), ProvisionError> {
        self.must(action, Call::new(["mkdir", "-p", dir])).await?;
        let call = Call::new(["tar", "-x", "-f", "-", "-C", dir]).limit(LONG);
        self.must(action, call.feed(what.feed())).await
    }

    /// Runs a program, whatever it comes to.
    async fn run(&mut self, action: &str, call: Call) -> Result<Ended, ProvisionError> {
        (self.lines)(&format!("$ {}", call.shown()));
        let failed = |source| ProvisionError::Session { action: action.to_owned(), source };
        self.guest.run(call, self.lines).await.map_err(failed)
    }

    async fn must(&mut self, action: &str, call: Call) -> Result<(), ProvisionError> {
        self.must_print(action, call).await.map(drop)
    }

    /// Runs a program that has to succeed; what it printed, if the call keeps that.
    async fn must_print(&mut self, action: &str, call: Call) -> Result<String, ProvisionError> {
        let command = call.argv.first().cloned().unwrap_or_default();
        let Ended { exit, stdout, tail } = self.run(action, call).await?;
        if exit.is_good() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        Err(ProvisionError::Failed { action: action.to_owned(), command, exit, tail })
    }
}

/// Whether a path can be a place in a guest: absolute, with no step up.
pub fn is_place(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}

/// What is of no use in an image. The marks at the end are those by which systemd knows that `/etc`
/// and `/var` fit `/usr`: without them the first boot of each VM makes everything anew.
fn litter() -> Vec<Call> {
    let below = |dir: &'static str| Call::new(["find", dir, "-mindepth", "1", "-delete"]);
    vec![
        Call::new(["rm", "-r", "-f", SCRIPTS]),
        below("/tmp"),
        below("/var/log/journal"),
        Call::new(["rm", "-f", "/root/.bash_history", "/root/.ash_history"]),
        // It saves a seed when it ends, which would be the same in each VM.
        Call::new(["systemctl", "stop", "systemd-random-seed.service"]),
        Call::new(["touch", "-c", "-r", "/usr", "/etc/.updated", "/var/.updated"]),
    ]
}

/// Who this guest is, which nothing made from it may be.
fn identity() -> Vec<Call> {
    vec![
        Call::new([
            "rm",
            "-f",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/var/lib/dbus/machine-id",
            "/var/lib/systemd/random-seed",
        ]),
        // Empty and not absent: systemd then mounts its own over it where the disk is read-only.
        Call::new(["cp", "/dev/null", "/etc/machine-id"]),
        // Whoever has worked in it may have removed the files, or all of the directories, or have put
        // links in their place.
        Call::new(["find", "/etc", "-maxdepth", "2", "-path", "/etc/ssh/ssh_host_*", "-delete"]),
        Call::new([
            "find",
            "-L",
            "/root",
            "-maxdepth",
            "2",
            "-path",
            "/root/.ssh/authorized_keys",
            "-exec",
            "sed",
            "-i",
            FENCE,
            "{}",
            "+",
        ]),
    ]
}
