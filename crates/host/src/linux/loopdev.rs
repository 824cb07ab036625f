//! Loop devices: block devices over files.
//!
//! A device is attached so that the kernel detaches it when its last user closes it. So as long as
//! a [`LoopDevice`] is held the device stays, and once a device-mapper device uses it, it stays for
//! as long as that one does. Devices are found again by their backing file.

use super::ioctl::{self, Access};
use crate::HostError;
use banger_core::unit::Sectors;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// How often another process may be quicker to take a free device.
const RACES: usize = 64;

/// An attached loop device, kept open.
#[derive(Debug)]
pub(super) struct LoopDevice {
    /// Its number: 3 for `/dev/loop3`.
    number: u32,
    _open: File,
}

impl LoopDevice {
    /// Attaches the file to a free device.
    pub(super) fn attach(path: &Path, access: Access) -> Result<Self, HostError> {
        let backing = OpenOptions::new()
            .read(true)
            .write(access == Access::ReadWrite)
            .open(path)
            .map_err(HostError::io("open", path.display()))?;
        let control = open_control()?;
        for _ in 0..RACES {
            let attempt = Self::attach_free(&control, &backing, path, access);
            match attempt {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                other => {
                    return other.map_err(HostError::io("attach a loop device to", path.display()));
                }
            }
        }
        Err(HostError::Refused {
            action: "attach a loop device to",
            object: path.display().to_string(),
            reason: format!("{RACES} free devices were taken by others first"),
        })
    }

    fn attach_free(
        control: &File,
        backing: &File,
        path: &Path,
        access: Access,
    ) -> io::Result<Self> {
        let number = ioctl::free_loop(control)?;
        let device = OpenOptions::new()
            .read(true)
            .write(access == Access::ReadWrite)
            .open(device_path(number))?;
        ioctl::attach_loop(&device, backing.as_fd(), path, access)?;
        Ok(Self { number, _open: device })
    }

    /// The block device.
    pub(super) fn path(&self) -> PathBuf {
        device_path(self.number)
    }

    /// What it measures.
    pub(super) fn sectors(&self) -> Result<Sectors, HostError> {
        sectors(self.number)
    }
}

/// What a loop device measures: what its file measured when it was attached.
pub(super) fn sectors(number: u32) -> Result<Sectors, HostError> {
    let path = format!("/sys/block/loop{number}/size");
    let text = fs::read_to_string(&path).map_err(HostError::io("read", &path))?;
    text.trim().parse().map(Sectors).map_err(|error| {
        HostError::io("read", &path)(io::Error::new(io::ErrorKind::InvalidData, error))
    })
}

fn device_path(number: u32) -> PathBuf {
    format!("/dev/loop{number}").into()
}

fn open_control() -> Result<File, HostError> {
    match OpenOptions::new().read(true).write(true).open("/dev/loop-control") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HostError::Unavailable {
            feature: "the loop driver",
            reason: "there is no /dev/loop-control".to_owned(),
            remedy: "load the kernel module `loop`, or set `overlay = \"copy\"` in the configuration",
        }),
        other => other.map_err(HostError::io("open", "/dev/loop-control")),
    }
}

/// A loop device and the file under it, as sysfs shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attached {
    /// Its number.
    pub(super) number: u32,
    /// The file, by the path that it was attached with, free of links.
    pub(super) backing: PathBuf,
}

/// The devices that are attached to a file.
pub(super) fn list() -> Vec<Attached> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let number = name.to_str()?.strip_prefix("loop")?.parse().ok()?;
            Some(Attached { number, backing: backing_file(number)? })
        })
        .collect()
}

/// The file under a loop device; `None` if there is none.
pub(super) fn backing_file(number: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/sys/block/loop{number}/loop/backing_file")).ok()?;
    Some(text.trim_end_matches('\n').into())
}

/// Detaches a device that was found by [`list`], if the file under it is still the one seen.
pub(super) fn detach(attached: &Attached) -> Result<(), HostError> {
    let path = device_path(attached.number);
    let outcome = File::open(&path).and_then(|device| {
        if backing_file(attached.number).as_ref() == Some(&attached.backing) {
            ioctl::detach_loop(&device)
        } else {
            Ok(())
        }
    });
    match outcome {
        // It went by itself.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        other => other.map_err(HostError::io("detach", path.display())),
    }
}

/// These need root.
#[cfg(test)]
mod host_tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, Instant};

    fn backing(dir: &Path) -> PathBuf {
        let path = dir.canonicalize().unwrap().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(b"otter", 0).unwrap();
        path
    }

    fn devices_on(path: &Path) -> Vec<Attached> {
        list().into_iter().filter(|attached| attached.backing == path).collect()
    }

    /// The kernel detaches some time after the last user has closed the device.
    fn wait_until_detached(path: &Path) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !devices_on(path).is_empty() {
            assert!(Instant::now() < deadline, "{:?}", devices_on(path));
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_device_shows_its_file_and_goes_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = backing(dir.path());
        let device = LoopDevice::attach(&path, Access::ReadOnly).unwrap();
        assert_eq!(devices_on(&path), [Attached { number: device.number, backing: path.clone() }]);
        assert_eq!(device.sectors().unwrap(), Sectors(2048));
        let mut bytes = [0; 5];
        File::open(device.path()).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"otter");
        let write = OpenOptions::new().write(true).open(device.path());
        let refused = write.and_then(|file| {
            file.write_all_at(&[0; 512], 0)?;
            file.sync_all()
        });
        assert!(refused.is_err());
        drop(device);
        wait_until_detached(&path);
    }

    #[test]
    fn several_devices_share_a_file_and_a_leftover_is_detached_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = backing(dir.path());
        let devices: Vec<_> =
            (0..3).map(|_| LoopDevice::attach(&path, Access::ReadWrite).unwrap()).collect();
        let seen = devices_on(&path);
        assert_eq!(seen.len(), 3);
        for attached in &seen {
            detach(attached).unwrap();
        }
        drop(devices);
        wait_until_detached(&path);
        for attached in &seen {
            detach(attached).unwrap();
        }
    }
}
