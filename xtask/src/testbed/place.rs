//! What the testbed keeps below `target/testbed/`, and what of it says that the host runs.
//!
//! ```text
//! host-<key>/     the host's disk, kernel, initrd and ssh keys    kept, rebuilt when <key> changes
//! bundle-<key>    the disk with the runtime bundle                likewise
//! share/          the programs, as the host sees them             brought up to date by `up`
//! run/            of the host that runs; gone with `down`
//!   alive         locked by the keeper as long as it lives
//!   record.json   what the keeper says
//! run-2/          likewise of a second one: of the same disks, and apart from the first
//! ```

use super::record::Record;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RUN: &str = "run";
/// A keeper locks first and then writes its first record.
const FIRST_RECORD: Duration = Duration::from_secs(10);

/// Where everything of one host is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
    run: String,
}

/// What a host is made of.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct Disks {
    /// The directory with the host's own disk.
    #[arg(long)]
    pub(super) host: PathBuf,
    /// The disk with the runtime bundle.
    #[arg(long)]
    pub(super) bundle: PathBuf,
}

impl Place {
    /// The place of the host that people use.
    pub(super) fn new(workspace: &Workspace) -> Self {
        Self::of_run(workspace, RUN)
    }

    /// The place of the n-th host, from 1.
    pub(super) fn of_host(workspace: &Workspace, n: usize) -> Self {
        let run = if n == 1 { RUN.to_owned() } else { format!("{RUN}-{n}") };
        Self::of_run(workspace, &run)
    }

    /// The place with this name of the running host's directory.
    pub(super) fn of_run(workspace: &Workspace, run: &str) -> Self {
        Self { dir: workspace.target().join("testbed"), run: run.to_owned() }
    }

    /// The places that have a host, or what one has left.
    pub(super) fn all_used(&self) -> Result<Vec<Self>> {
        let doing = || format!("cannot list {}", self.dir.display());
        let mut used = Vec::new();
        for entry in fs::read_dir(&self.dir).with_context(doing)? {
            let name = entry.with_context(doing)?.file_name().to_string_lossy().into_owned();
            if name == RUN || name.starts_with(&format!("{RUN}-")) {
                used.push(Self { dir: self.dir.clone(), run: name });
            }
        }
        Ok(used)
    }

    /// The name of the running host's directory.
    pub(super) fn run_name(&self) -> &str {
        &self.run
    }

    /// What is kept under this name.
    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory that the host sees.
    pub(super) fn share(&self) -> PathBuf {
        self.dir.join("share")
    }

    /// The directory of the host that runs.
    pub(super) fn run(&self) -> PathBuf {
        self.dir.join(&self.run)
    }

    /// What the host's kernel and init have said in its n-th boot.
    pub(super) fn console(&self, boot: u32) -> PathBuf {
        self.run().join(format!("console-{boot}.log"))
    }

    /// Where the console of a host that did not come up is kept.
    pub(super) fn console_kept(&self) -> PathBuf {
        self.dir.join("console-of-failed-boot.log")
    }

    pub(super) fn qemu_log(&self) -> PathBuf {
        self.run().join("qemu.log")
    }

    pub(super) fn keeper_log(&self) -> PathBuf {
        self.run().join("keeper.log")
    }

    pub(super) fn keeper_said(&self) -> String {
        fs::read_to_string(self.keeper_log()).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Keeps other tasks from changing anything here.
    pub(super) fn lock_task(&self) -> Result<File> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        lock(&self.dir.join("lock"))?.context("another task is bringing the testbed up or down")
    }

    /// Marks the host as running for as long as the file is open.
    pub(super) fn lock_alive(&self) -> Result<File> {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            // Who asks whether it is locked holds it for a moment too.
            match lock(&self.run().join("alive"))? {
                Some(file) => return Ok(file),
                None if Instant::now() > deadline => bail!("the host has a keeper already"),
                None => std::thread::park_timeout(Duration::from_millis(20)),
            }
        }
    }

    /// The keeper's record; none if there is no keeper.
    pub(super) fn read_record(&self) -> Result<Option<Record>> {
        let (alive, path) = (self.run().join("alive"), self.record_path());
        let deadline = Instant::now() + FIRST_RECORD;
        loop {
            match File::open(&alive) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot open {}", alive.display()));
                }
                Ok(file) if file.try_lock_shared().is_ok() => return Ok(None),
                Ok(_held_by_the_keeper) => {}
            }
            match fs::read(&path) {
                Ok(text) => {
                    return serde_json::from_slice(&text)
                        .map(Some)
                        .with_context(|| format!("cannot understand {}", path.display()));
                }
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
                Err(_) if Instant::now() > deadline => bail!("the host's keeper says nothing"),
                Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
            }
        }
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<()> {
        let (path, part) = (self.record_path(), self.run().join("record.part"));
        let text = serde_json::to_vec_pretty(record).context("a record is plain data")?;
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what a host left that no longer runs.
    pub(super) fn clear_run(&self) -> Result<()> {
        remove(&self.run())
    }

    /// Keeps the last console of a host that did not come up.
    pub(super) fn save_console(&self) -> Result<()> {
        let Some(record) = self.read_record()? else { return Ok(()) };
        let (from, to) = (self.console(record.boot), self.console_kept());
        if from.exists() {
            fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(())
    }

    /// Removes disks that were built earlier and of other input.
    pub(super) fn remove_disks_but(&self, disks: &Disks) -> Result<()> {
        for entry in fs::read_dir(&self.dir)
            .with_context(|| format!("cannot list {}", self.dir.display()))?
        {
            let path = entry.with_context(|| format!("cannot list {}", self.dir.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_disk = name.starts_with("host-") || name.starts_with("bundle-");
            if is_disk && path != disks.host && path != disks.bundle {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn record_path(&self) -> PathBuf {
        self.run().join("record.json")
    }
}

/// Removes a file or a directory, which need not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn lock(path: &Path) -> Result<Option<File>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("xtask-place-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("run")).unwrap();
        Place { dir, run: RUN.to_owned() }
    }

    #[test]
    fn a_record_counts_only_while_its_keeper_lives() {
        let place = place("alive");
        assert!(place.read_record().unwrap().is_none());
        let alive = place.lock_alive().unwrap();
        let record = Record::sample();
        place.write_record(&record).unwrap();
        assert_eq!(place.read_record().unwrap(), Some(record));
        assert!(place.lock_alive().is_err());
        drop(alive);
        assert!(place.read_record().unwrap().is_none());
        place.clear_run().unwrap();
        place.clear_run().unwrap();
        fs::remove_dir_all(&place.dir).unwrap();
    }

    #[test]
    fn a_second_host_is_found_beside_the_first() {
        let place = place("second");
        fs::create_dir(place.kept("run-2")).unwrap();
        fs::create_dir(place.kept("running")).unwrap();
        let mut names: Vec<_> =
            place.all_used().unwrap().iter().map(|used| used.run_name().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["run", "run-2"]);
        fs::remove_dir_all(&place.dir).unwrap();
    }

    #[test]
    fn only_disks_of_other_input_are_removed() {
        let place = place("disks");
        for name in ["host-1", "host-2"] {
            fs::create_dir(place.kept(name)).unwrap();
        }
        for name in ["bundle-1", "bundle-2", "lock"] {
            fs::write(place.kept(name), "").unwrap();
        }
        let disks = Disks { host: place.kept("host-2"), bundle: place.kept("bundle-2") };
        place.remove_disks_but(&disks).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["bundle-2", "host-2", "lock", "run"]);
        fs::remove_dir_all(&place.dir).unwrap();
    }
}
