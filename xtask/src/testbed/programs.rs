//! The directory of programs that the host sees. It has copies of its own, of which `up` renews those
//! that have changed.

use super::place::Place;
use crate::firecracker;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Brings the directory up to date. A program that runs in the host stays what it is.
pub(super) fn share(workspace: &Workspace, place: &Place) -> Result<()> {
    let bin = place.share().join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let firecracker = firecracker::fetch(workspace)?;
    let built = ["banger", "bangerd", "banger-init"]
        .map(|name| (name, workspace.program(Profile::Release, name)));
    for (name, from) in built.into_iter().chain([("firecracker", firecracker)]) {
        update(&from, &bin.join(name))?;
    }
    Ok(())
}

fn update(from: &PathBuf, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let part = to.with_extension("part");
    fs::copy(from, &part)
        .and_then(|_| fs::rename(&part, to))
        .with_context(|| format!("cannot write {}", to.display()))
}
