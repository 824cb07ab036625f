//! The directory of programs that the host sees. It has copies of its own, of which `up` renews those
//! that have changed.

use super::place::Place;
use crate::workspace::{Profile, Workspace};
use crate::{firecracker, programs};
use anyhow::{Context, Result};
use std::fs;

/// Adds Firecracker, which every task in the host needs.
pub(super) fn share_firecracker(workspace: &Workspace, place: &Place) -> Result<()> {
    let bin = place.share().join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    programs::place(&firecracker::fetch(workspace)?, &bin.join("firecracker"))
}

/// Adds the programs that a user would have.
pub(super) fn share(workspace: &Workspace, place: &Place) -> Result<()> {
    programs::set_apart(workspace, Profile::Release, &place.share().join("bin"))
}
