//! The root file system: the image's, under the VM's copy-on-write layer.

use crate::disk::{Disk, DiskError};
use crate::events::DeviceEvents;
use crate::mounts::NEW_ROOT;
use crate::path_error::On;
use std::fs;
use std::path::Path;

/// Mounts the root disk on [`NEW_ROOT`] and grows it; the value is a warning.
pub(crate) fn mount(device: &str, events: &DeviceEvents) -> Result<Option<String>, DiskError> {
    let target = Path::new(NEW_ROOT);
    fs::create_dir_all(target).on("create the directory", target)?;
    Disk::find(Path::new(device), events)?.mount_and_grow(target)
}
