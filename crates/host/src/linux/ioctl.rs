//! The ioctls that no crate in the tree wraps: TAP creation and loop devices.
//!
//! All of it is unsafe inside and safe outside: each function owns the memory that it hands to the
//! kernel. Layouts are those of `linux/if_tun.h` and `linux/loop.h`.

use banger_core::names::IfName;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// The sizes that the ioctls below expect, checked when this is compiled.
const _: () = {
    assert!(size_of::<LoopInfo>() == 232);
    assert!(size_of::<LoopConfig>() == 304);
    assert!(size_of::<libc::ifreq>() >= libc::IFNAMSIZ + size_of::<libc::c_short>());
};

const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;

const LO_FLAGS_READ_ONLY: u32 = 1;
/// The kernel detaches the device when its last user closes it.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Whether a loop device takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It does not.
    ReadOnly,
    /// It does.
    ReadWrite,
}

/// Creates a TAP with a virtio-net header in front of each frame, to outlive `tun`'s being closed.
/// One that is there already and in nobody's hands is taken as it is.
pub(super) fn create_tap(tun: &File, name: &IfName) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid ifreq: numbers, arrays and a union of those.
    #[expect(unsafe_code, reason = "a C structure is zeroed")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // At most 15 bytes by the type, so the sixteenth stays NUL.
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call is over;
    // TUNSETPERSIST takes its argument by value.
    #[expect(unsafe_code, reason = "no crate in the tree wraps these calls")]
    unsafe {
        answer(libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request))?;
        answer(libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong))?;
    }
    Ok(())
}

/// The number of a loop device that is free at this moment.
pub(super) fn free_loop(control: &File) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    #[expect(unsafe_code, reason = "no crate in the tree wraps this call")]
    let number = answer(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
    u32::try_from(number).map_err(io::Error::other)
}

/// Attaches `backing` to a loop device, to be detached when the device's last user closes it. EBUSY
/// means that another process took the device first.
pub(super) fn attach_loop(
    device: &File,
    backing: BorrowedFd<'_>,
    path: &Path,
    access: Access,
) -> io::Result<()> {
    let read_only = if access == Access::ReadOnly { LO_FLAGS_READ_ONLY } else { 0 };
    let mut file_name = [0; 64];
    // For `losetup` to show; the kernel itself goes by the descriptor.
    for (to, from) in file_name[..63].iter_mut().zip(path.as_os_str().as_encoded_bytes()) {
        *to = *from;
    }
    let config = LoopConfig {
        fd: u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR | read_only,
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one loop_config, which lives until the call is over.
    #[expect(unsafe_code, reason = "no crate in the tree wraps this call")]
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })?;
    Ok(())
}

/// Detaches a loop device now, or when its last user closes it.
pub(super) fn detach_loop(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    #[expect(unsafe_code, reason = "no crate in the tree wraps this call")]
    answer(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) })?;
    Ok(())
}

fn answer(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
