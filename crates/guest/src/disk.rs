//! A disk of the VM: waiting for it, mounting its ext4, growing that to the disk's size.

use crate::events::{DEVICE_DEADLINE, DeviceEvents};
use crate::path_error::{On, PathError};
use rustix::io::Errno;
use rustix::ioctl;
use rustix::mount::{MountFlags, mount};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where the superblock begins, in bytes.
const SUPERBLOCK: u64 = 1024;
/// Offset of `s_log_block_size` (a power of two, in units of 1024) in the superblock.
const LOG_BLOCK_SIZE: usize = 0x18;
/// Offset of `s_magic` in the superblock.
const MAGIC: usize = 0x38;
/// `EXT4_IOC_RESIZE_FS` of fs/ext4/ext4.h: `_IOW('f', 16, __u64)`, the new size in blocks.
const RESIZE_FS: ioctl::Opcode = ioctl::opcode::write::<u64>(b'f', 16);

/// Why a disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// The device is not there.
    #[error("the disk `{device}` did not appear within {seconds} s")]
    Missing {
        /// The device.
        device: PathBuf,
        /// The deadline.
        seconds: u64,
    },
    /// The disk holds something else, or nothing.
    #[error("the disk `{device}` holds no ext4 file system")]
    NotExt4 {
        /// The device.
        device: PathBuf,
    },
    /// A step failed.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A disk that is there and holds an ext4 file system.
pub(crate) struct Disk {
    device: PathBuf,
    block_size: u64,
    bytes: u64,
}

impl Disk {
    /// Waits for the device and reads its superblock.
    pub(crate) fn find(device: &Path, events: &DeviceEvents) -> Result<Self, DiskError> {
        let there = || fs::metadata(device).is_ok_and(|m| m.file_type().is_block_device());
        events.wait_for(DEVICE_DEADLINE, || there().then_some(())).ok_or_else(|| {
            DiskError::Missing { device: device.to_owned(), seconds: DEVICE_DEADLINE.as_secs() }
        })?;
        Self::read(device)
    }

    /// Reads the superblock of a device, or a file.
    fn read(device: &Path) -> Result<Self, DiskError> {
        let mut superblock = [0; 64];
        let mut read = || -> io::Result<u64> {
            let mut file = File::open(device)?;
            let bytes = file.seek(SeekFrom::End(0))?;
            if bytes >= SUPERBLOCK + 1024 {
                file.seek(SeekFrom::Start(SUPERBLOCK))?;
                file.read_exact(&mut superblock)?;
            }
            Ok(bytes)
        };
        let bytes = read().on("read the disk", device)?;
        let magic = u16::from_le_bytes([superblock[MAGIC], superblock[MAGIC + 1]]);
        let log_block_size = superblock[LOG_BLOCK_SIZE];
        // ext4 knows blocks of 1 to 64 KiB.
        if magic != 0xef53 || log_block_size > 6 {
            return Err(DiskError::NotExt4 { device: device.to_owned() });
        }
        Ok(Self { device: device.to_owned(), block_size: 1024 << log_block_size, bytes })
    }

    /// Mounts the file system on `target` and lets it grow to the disk's size. The value is a
    /// warning, when it would not grow: a VM with a small disk is of more use than none.
    pub(crate) fn mount_and_grow(&self, target: &Path) -> Result<Option<String>, DiskError> {
        self.mount(target)?;
        let refused = grow(target, self.bytes / self.block_size).err();
        Ok(refused.map(|error| {
            let device = self.device.display();
            format!("the file system on `{device}` does not grow to the disk's size: {error}")
        }))
    }

    fn mount(&self, target: &Path) -> Result<(), PathError> {
        // Without the lazy zeroing of inode tables in the background: it would write, for nothing,
        // into the VM's copy-on-write layer. A file system that does not know the option is asked again
        // without it.
        let attempt = |options| mount(&self.device, target, "ext4", MountFlags::empty(), options);
        match attempt(c"noinit_itable") {
            Err(Errno::INVAL) => attempt(c""),
            other => other,
        }
        .on("mount the ext4 file system of", &self.device)
    }
}

/// Grows the mounted file system to `blocks`; it is a no-op when it has that size.
#[expect(unsafe_code, reason = "rustix has no wrapper of this ioctl")]
fn grow(mounted_at: &Path, blocks: u64) -> io::Result<()> {
    let root = File::open(mounted_at)?;
    // SAFETY: the opcode is that of EXT4_IOC_RESIZE_FS, which reads one `__u64`; file systems other
    // than ext4 refuse it.
    unsafe {
        let request = ioctl::Setter::<RESIZE_FS, u64>::new(blocks);
        ioctl::ioctl(&root, request)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_superblock_gives_the_size_in_blocks() {
        let mut bytes = vec![0; 8192];
        bytes[1024 + MAGIC..][..2].copy_from_slice(&[0x53, 0xef]);
        bytes[1024 + LOG_BLOCK_SIZE] = 2;
        let disk = Disk::read(file(&bytes).path()).ok().unwrap();
        assert_eq!((disk.block_size, disk.bytes), (4096, 8192));
    }

    #[test]
    fn a_disk_of_something_else_is_refused() {
        for bytes in [vec![], vec![0; 512], vec![0; 8192]] {
            let file = file(&bytes);
            assert!(matches!(Disk::read(file.path()), Err(DiskError::NotExt4 { .. })));
        }
    }

    #[test]
    fn the_resize_request_is_the_kernels() {
        // From strace of resize2fs on x86-64: EXT4_IOC_RESIZE_FS is 0x40086610.
        assert_eq!(RESIZE_FS, 0x4008_6610);
    }
}
