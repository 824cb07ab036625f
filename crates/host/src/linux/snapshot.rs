//! Device-mapper snapshots over loop devices.
//!
//! ```text
//! /dev/mapper/<name>
//!   ├─ snapshot, persistent, chunks of 8 sectors
//!   │   ├─ loop device, read-only  → the image
//!   │   └─ loop device             → the copy-on-write store
//!   └─ linear, where the disk is larger than the image
//!       └─ loop device             → the tail
//! ```
//!
//! A snapshot target has the size of its origin. So what a disk has beyond the image's end is a file
//! of its own, and growing the disk is growing that file before the device is made.
//!
//! Each snapshot has its loop devices to itself. They detach themselves when the snapshot goes.

use super::ioctl::Access;
use super::loopdev::{self, LoopDevice};
use crate::cmd::{Cmd, CmdError};
use crate::{Change, HostError};
use banger_core::names::DmName;
use banger_core::unit::{Bytes, Sectors};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Both waits for udev and retried removals are seconds at the most.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The files that a snapshot stands on.
#[derive(Debug)]
pub(super) struct Files<P> {
    /// The image.
    pub(super) base: P,
    /// The copy-on-write store.
    pub(super) cow: P,
    /// What the device has after the image's last whole sector.
    pub(super) tail: Option<P>,
}

/// Makes the snapshot. One over other files, or over files of other sizes, is made anew, which fails
/// if it is in use.
pub(super) fn ensure(name: &DmName, files: Files<&Path>) -> Result<Change, HostError> {
    let files = files.canonical()?;
    if let Some(device) = find(name) {
        if device.extents() == files.extents()? {
            ensure_node(name)?;
            return Ok(Change::Unchanged);
        }
        remove_device(name)?;
    }
    need_device_mapper()?;
    // They are held until the device holds them.
    let origin = LoopDevice::attach(&files.base, Access::ReadOnly)?;
    let store = LoopDevice::attach(&files.cow, Access::ReadWrite)?;
    let tail = files.tail.map(|tail| LoopDevice::attach(&tail, Access::ReadWrite)).transpose()?;
    let table = render_table(&origin, &store, tail.as_ref())?;
    Cmd::new("dmsetup")
        .args(["create", name.as_str()])
        .stdin_bytes(table.into_bytes())
        .timeout(TIMEOUT)
        .run()
        .map_err(HostError::program("create the snapshot", name))?;
    ensure_node(name)?;
    Ok(Change::Changed)
}

/// One line for each segment: where it begins, its length, its target and that one's arguments.
fn render_table(
    origin: &LoopDevice,
    store: &LoopDevice,
    tail: Option<&LoopDevice>,
) -> Result<String, HostError> {
    let end = origin.sectors()?.0;
    let (base, cow) = (origin.path(), store.path());
    let mut table = format!("0 {end} snapshot {} {} P 8\n", base.display(), cow.display());
    if let Some(tail) = tail {
        table += &format!("{end} {} linear {} 0\n", tail.sectors()?.0, tail.path().display());
    }
    Ok(table)
}

/// Removes the snapshot, and loop devices over the VM's own files that a crash left.
pub(super) fn remove(name: &DmName, cow: &Path, tail: Option<&Path>) -> Result<Change, HostError> {
    let mut change = Change::Unchanged;
    if find(name).is_some() {
        remove_device(name)?;
        change = Change::Changed;
    }
    // A file that is gone has no device under its own name any more.
    let own: Vec<_> = [Some(cow), tail].into_iter().flatten().flat_map(fs::canonicalize).collect();
    for attached in loopdev::list().into_iter().filter(|attached| own.contains(&attached.backing)) {
        loopdev::detach(&attached)?;
        change = Change::Changed;
    }
    Ok(change)
}

impl Files<&Path> {
    fn canonical(self) -> Result<Files<PathBuf>, HostError> {
        Ok(Files {
            base: canonical(self.base)?,
            cow: canonical(self.cow)?,
            tail: self.tail.map(canonical).transpose()?,
        })
    }
}

impl Files<PathBuf> {
    /// What [`Device::extents`] finds for a device that was made from the files as they are now.
    fn extents(&self) -> Result<BTreeSet<(PathBuf, Sectors)>, HostError> {
        [&self.base, &self.cow]
            .into_iter()
            .chain(&self.tail)
            .map(|path| {
                let meta = fs::metadata(path).map_err(HostError::io("look at", path.display()))?;
                Ok((path.clone(), Bytes(meta.len()).sectors()))
            })
            .collect()
    }
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
    /// The files under the loop devices that it uses, each with what its loop device measures.
    fn extents(&self) -> BTreeSet<(PathBuf, Sectors)> {
        let Ok(entries) = fs::read_dir(self.sysfs.join("slaves")) else { return BTreeSet::new() };
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let number = name.to_str()?.strip_prefix("loop")?.parse().ok()?;
                Some((loopdev::backing_file(number)?, loopdev::sectors(number).ok()?))
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
