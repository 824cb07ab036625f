//! The runtime bundle that quickstart and the tests share.
//!
//! It is built by a daemon in the machine's own network, since its packages are downloaded. The
//! daemon puts nothing into the network as long as no VM starts.

use crate::cmd::Cmd;
use crate::daemon::{Daemon, Home, fnv1a};
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A bundle build on a slow line.
const BUILD: Duration = Duration::from_secs(2400);

const MANIFEST: &str = "bundle.json";
/// The manifest's fields that name files.
const FILES: [&str; 3] = ["kernel", "initrd", "rootfs"];

/// Keeps the bundle from being rebuilt as long as it lives.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: File,
}

/// Whether to build a bundle that is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebuild {
    /// Only when it is missing or of another source.
    IfStale,
    /// In any case.
    Always,
}

/// Builds the bundle if need be. It needs root.
pub(crate) fn ensure(workspace: &Workspace, profile: Profile, rebuild: Rebuild) -> Result<InUse> {
    let scratch = workspace.scratch("bundle");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let lock_path = scratch.join("lock");
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    let doing = || format!("cannot lock {}", lock_path.display());
    lock.lock_shared().with_context(doing)?;
    match state(workspace)? {
        State::Current if rebuild == Rebuild::IfStale => eprintln!("the bundle is current"),
        state => {
            eprintln!("building the bundle: {}", state.reason());
            lock.unlock().with_context(doing)?;
            lock.lock().with_context(doing)?;
            // Another task may have built it while this one waited.
            if rebuild == Rebuild::Always || !matches!(self::state(workspace)?, State::Current) {
                build(workspace, profile)?;
            }
            lock.lock_shared().with_context(doing)?;
        }
    }
    Ok(InUse { _lock: lock })
}

fn build(workspace: &Workspace, profile: Profile) -> Result<()> {
    let key = key(workspace)?;
    let daemon = Daemon::start(Home::new(workspace, "bundle", profile))?;
    let built = daemon.banger().args(["bundle", "build"]).timeout(BUILD).run();
    let stopped = daemon.stop();
    built?;
    stopped?;
    prune(&workspace.bundle())?;
    let path = key_path(workspace);
    fs::write(&path, key).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the files of earlier builds. A build keeps them for VMs that use them; here none does,
/// since the lock is held.
fn prune(dir: &Path) -> Result<()> {
    let manifest = manifest(dir).context("the bundle was built and has no manifest")?;
    let is_named = |name: &str| FILES.iter().any(|file| manifest[file] == name);
    let doing = || format!("cannot list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().with_context(doing)?.is_file();
        if is_file && name != MANIFEST && !name.starts_with('.') && !is_named(&name) {
            fs::remove_file(entry.path()).with_context(|| format!("cannot remove {name}"))?;
        }
    }
    Ok(())
}

enum State {
    Current,
    Missing,
    OtherSource,
}

impl State {
    fn reason(&self) -> &'static str {
        match self {
            Self::Current => "it was asked for",
            Self::Missing => "there is none",
            Self::OtherSource => "the code that builds it has changed",
        }
    }
}

fn state(workspace: &Workspace) -> Result<State> {
    if !is_complete(&workspace.bundle()) {
        return Ok(State::Missing);
    }
    let known = fs::read_to_string(key_path(workspace)).unwrap_or_default();
    Ok(if known == key(workspace)? { State::Current } else { State::OtherSource })
}

/// Whether the files that the manifest names are there.
fn is_complete(dir: &Path) -> bool {
    let Some(manifest) = manifest(dir) else {
        return false;
    };
    FILES
        .into_iter()
        .all(|file| manifest[file].as_str().is_some_and(|name| dir.join(name).is_file()))
}

fn manifest(dir: &Path) -> Option<serde_json::Value> {
    serde_json::from_str(&fs::read_to_string(dir.join(MANIFEST)).ok()?).ok()
}

fn key_path(workspace: &Workspace) -> PathBuf {
    workspace.scratch("bundle").join("key")
}

/// A digest of everything in the source that decides what is in a bundle.
fn key(workspace: &Workspace) -> Result<String> {
    let mut files = Vec::new();
    collect(&workspace.root().join("crates/image/src"), &mut files)?;
    files.sort();
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend_from_slice(file.as_os_str().as_encoded_bytes());
        bytes.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(format!("{:016x}", fnv1a(&bytes)))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("cannot list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        if entry.file_type().with_context(doing)?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Gives what root has made below `target/` to the user who called sudo, so that they can remove it.
pub(crate) fn give_back(workspace: &Workspace) -> Result<()> {
    let id = |name| std::env::var(name).ok().filter(|id| id.parse::<u32>().is_ok());
    let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) else {
        return Ok(());
    };
    let below = |name: &str| workspace.target().join(name);
    let results = workspace.root().join("target/nextest");
    let dirs = [workspace.bundle(), below("xtask"), below("testbed"), below("tools"), results];
    Cmd::new("chown")
        .args(["-R", "-h", &format!("{user}:{group}")])
        .args(dirs.iter().filter(|dir| dir.exists()))
        .silent()
        .clean_up()
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_complete_with_all_its_files_and_pruned_to_them() {
        let dir = std::env::temp_dir().join(format!("xtask-bundle-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert!(!is_complete(&dir));
        let manifest = r#"{"kernel": "vmlinux", "initrd": "initrd", "rootfs": "rootfs.ext4"}"#;
        fs::write(dir.join("bundle.json"), manifest).unwrap();
        for file in ["vmlinux", "initrd"] {
            fs::write(dir.join(file), "").unwrap();
        }
        assert!(!is_complete(&dir));
        fs::write(dir.join("rootfs.ext4"), "").unwrap();
        assert!(is_complete(&dir));
        fs::write(dir.join("vmlinux-of-before"), "").unwrap();
        fs::write(dir.join(".build.lock"), "").unwrap();
        prune(&dir).unwrap();
        assert!(is_complete(&dir));
        let mut left: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".build.lock", MANIFEST, "initrd", "rootfs.ext4", "vmlinux"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
