//! Device-mapper snapshots over loop devices.
//!
//! ```text
//! /dev/mapper/<name>  snapshot, persistent, chunks of 8 sectors
//!   ├─ loop device, read-only  → the image
//!   └─ loop device             → the copy-on-write store
//! ```
//!
//! Each snapshot has its two loop devices to itself. They detach themselves when the snapshot goes.

use super::ioctl::Access;
use super::loopdev::{self, LoopDevice};
use crate::cmd::{Cmd, CmdError};
use crate::{Change, HostError};
use banger_core::names::DmName;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Both waits for udev and retried removals are seconds at the most.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the snapshot. One over other files is made anew, which fails if it is in use.
pub(super) fn ensure(name: &DmName, base: &Path, cow: &Path) -> Result<Change, HostError> {
    let (base, cow) = (canonical(base)?, canonical(cow)?);
    if let Some(device) = find(name) {
        if device.backing_files() == BTreeSet::from([base.clone(), cow.clone()]) {
            ensure_node(name)?;
            return Ok(Change::Unchanged);
        }
        remove_device(name)?;
    }
    need_device_mapper()?;
    let origin = LoopDevice::attach(&base, Access::ReadOnly)?;
    let store = LoopDevice::attach(&cow, Access::ReadWrite)?;
    let table = format!(
        "0 {} snapshot {} {} P 8",
        origin.sectors()?,
        origin.path().display(),
        store.path().display()
    );
    dmsetup(["create", name.as_str(), "--table", &table])
        .map_err(HostError::program("create the snapshot", name))?;
    ensure_node(name)?;
    Ok(Change::Changed)
}

/// Removes the snapshot, and a loop device over the store that a crash left.
pub(super) fn remove(name: &DmName, cow: &Path) -> Result<Change, HostError> {
    let mut change = Change::Unchanged;
    if find(name).is_some() {
        remove_device(name)?;
        change = Change::Changed;
    }
    // A store that is gone has no device under its own name any more.
    if let Ok(cow) = fs::canonicalize(cow) {
        for attached in loopdev::list().into_iter().filter(|attached| attached.backing == cow) {
            loopdev::detach(&attached)?;
            change = Change::Changed;
        }
    }
    Ok(change)
}

fn canonical(path: &Path) -> Result<PathBuf, HostError> {
    fs::canonicalize(path).map_err(HostError::io("open", path.display()))
}

fn remove_device(name: &DmName) -> Result<(), HostError> {
    // udev and block-device scanners open new devices for a moment; hence the retry.
    match dmsetup(["remove", "--retry", name.as_str()]) {
        Err(_) if find(name).is_none() => Ok(()),
        other => other.map_err(HostError::program("remove the snapshot", name)),
    }
}

/// Without udev nobody but dmsetup makes the node.
fn ensure_node(name: &DmName) -> Result<(), HostError> {
    if name.device().exists() {
        return Ok(());
    }
    dmsetup(["mknodes", name.as_str()]).map_err(HostError::program("make the node of", name))?;
    if name.device().exists() {
        return Ok(());
    }
    Err(HostError::Refused {
        action: "make the node of",
        object: name.to_string(),
        reason: format!("`{}` did not appear", name.device().display()),
    })
}

fn dmsetup<const N: usize>(args: [&str; N]) -> Result<(), CmdError> {
    Cmd::new("dmsetup").args(args).timeout(TIMEOUT).run().map(drop)
}

/// Loads the modules if they are not, which dmsetup does not do on every system.
fn need_device_mapper() -> Result<(), HostError> {
    if is_loaded() {
        return Ok(());
    }
    let loaded = Cmd::new("modprobe").args(["-q", "dm_snapshot"]).run();
    if is_loaded() {
        return Ok(());
    }
    let reason = match loaded {
        Ok(_) => "the kernel does not show it after its modules were loaded".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(HostError::Unavailable {
        feature: "device-mapper",
        reason,
        remedy: "use a kernel with the modules `dm_mod` and `dm_snapshot`, or set \
                 `overlay = \"copy\"` in the configuration",
    })
}

/// Whether the kernel has device-mapper or a module for it; else the reason.
pub(crate) fn device_mapper() -> Result<(), String> {
    if is_loaded() {
        return Ok(());
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let index = format!("/lib/modules/{release}/modules.dep");
    let modules = fs::read_to_string(&index).unwrap_or_default();
    if modules.contains("/dm-snapshot.ko") {
        Ok(())
    } else {
        Err(format!("the kernel {release} has no device-mapper"))
    }
}

fn is_loaded() -> bool {
    let misc = fs::read_to_string("/proc/misc").unwrap_or_default();
    misc.lines().any(|line| line.split_whitespace().nth(1) == Some("device-mapper"))
}

/// A device-mapper device as sysfs shows it.
#[derive(Debug)]
pub(super) struct Device {
    /// Its name.
    pub(super) name: String,
    sysfs: PathBuf,
}

impl Device {
    /// The files under the loop devices that it uses.
    fn backing_files(&self) -> BTreeSet<PathBuf> {
        let Ok(entries) = fs::read_dir(self.sysfs.join("slaves")) else { return BTreeSet::new() };
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                loopdev::backing_file(name.to_str()?.strip_prefix("loop")?.parse().ok()?)
            })
            .collect()
    }
}

/// Every device-mapper device of the host.
pub(super) fn devices() -> Vec<Device> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let sysfs = entry.ok()?.path();
            if !sysfs.file_name()?.to_str()?.starts_with("dm-") {
                return None;
            }
            let name = fs::read_to_string(sysfs.join("dm/name")).ok()?;
            Some(Device { name: name.trim_end().to_owned(), sysfs })
        })
        .collect()
}

fn find(name: &DmName) -> Option<Device> {
    devices().into_iter().find(|device| device.name == name.as_str())
}
