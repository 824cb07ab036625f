//! The kernel's own file systems, and the move from the initrd's root to the image's.

use crate::path_error::{On, PathError};
use rustix::mount::{MountFlags, mount, mount_move};
use std::fs;
use std::path::Path;

/// Where the image's root is mounted before it becomes the root.
pub(crate) const NEW_ROOT: &str = "/newroot";

/// File system, mount point, flags and options of each, in order.
const KERNEL_FILE_SYSTEMS: [(&str, &str, MountFlags, &std::ffi::CStr); 4] = [
    ("proc", "/proc", SAFE.union(MountFlags::NOEXEC), c""),
    ("sysfs", "/sys", SAFE.union(MountFlags::NOEXEC), c""),
    ("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755"),
    ("tmpfs", "/run", SAFE, c"mode=0755"),
];
const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Mounts proc, sysfs, devtmpfs and a tmpfs for /run.
pub(crate) fn mount_kernel_file_systems() -> Result<(), PathError> {
    for (kind, target, flags, options) in KERNEL_FILE_SYSTEMS {
        let target = Path::new(target);
        fs::create_dir_all(target).on("create the directory", target)?;
        mount(kind, target, kind, flags, options).on("mount", target)?;
    }
    Ok(())
}

/// Makes the file system that is mounted on `new_root` the root of this process, with the kernel's
/// file systems in it.
pub(crate) fn enter_root(new_root: &Path) -> Result<(), PathError> {
    for (_, target, _, _) in KERNEL_FILE_SYSTEMS {
        let source = Path::new(target);
        let target = new_root.join(target.trim_start_matches('/'));
        if !target.is_dir() {
            fs::create_dir_all(&target).on("create the image's directory", source)?;
        }
        mount_move(source, &target).on("move the mount", source)?;
    }
    rustix::process::chdir(new_root).on("enter", new_root)?;
    mount_move(".", "/").on("move over / the mount", new_root)?;
    rustix::process::chroot(".").on("make the root", new_root)?;
    rustix::process::chdir("/").on("enter", Path::new("/"))
}
