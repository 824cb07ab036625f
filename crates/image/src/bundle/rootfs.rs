//! The root file system of the bundle: a small Debian with systemd and sshd.
//!
//! It is an ordinary installation. Nothing in it is needed by banger-init, which boots any other
//! image the same way; what is changed here saves boot time and keeps secrets out of the image.

use super::BuildError;
use super::build::{OnPath, program};
use super::debian::KernelPackage;
use super::manifest::PackageVersion;
use super::workshop::Workshop;
use crate::ext4::{self, Inodes};
use banger_core::unit::MiB;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// For installing some 150 packages over a slow line.
const BOOTSTRAP: Duration = Duration::from_secs(1800);

/// What is installed beside Debian's minimum: what a system that one works in has.
const PACKAGES: [&str; 12] = [
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "openssh-server",
    "procps",
    "systemd-sysv",
    "udev",
    "vim-tiny",
];

/// Units that are enabled by default and have no work to do in such a VM: no console but the serial
/// one, no e2scrub without LVM, no crash records in firmware. apt's timers would start downloading
/// right after each boot.
const DISABLED: [&str; 8] = [
    "getty.target.wants/getty@tty1.service",
    "multi-user.target.wants/e2scrub_reap.service",
    "multi-user.target.wants/remote-fs.target",
    "sysinit.target.wants/systemd-pstore.service",
    "timers.target.wants/apt-daily-upgrade.timer",
    "timers.target.wants/apt-daily.timer",
    "timers.target.wants/dpkg-db-backup.timer",
    "timers.target.wants/e2scrub_all.timer",
];

/// Units that other units pull in, masked. The first five load modules that nothing in such a VM
/// waits for, and that the kernel loads by itself when they are used. Nobody can log in on the serial
/// console: root has no password.
const MASKED: [&str; 6] = [
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "serial-getty@ttyS0.service",
];

/// The rule by which udev loads a driver for each device that it finds at boot. The few that a VM
/// needs are loaded before; the others (kvm, ciphers, buttons) cost seconds under emulation.
const DRIVER_RULE: &str = "etc/udev/rules.d/80-drivers.rules";

/// The marks by which systemd knows that `/etc` and `/var` fit `/usr` (systemd-update-done(8)).
/// Without them each VM's first boot would make caches and users that are there already.
const UPDATED: [&str; 2] = ["etc/.updated", "var/.updated"];

/// Installs the packages into `root`.
pub(super) fn bootstrap(
    workshop: &Workshop,
    root: &Path,
    suite: &str,
    cancel: &AtomicBool,
) -> Result<(), BuildError> {
    let temporary = workshop.create_dir("tmp")?;
    // mmdebstrap mounts the kernel's file systems below the root in the mount name space that it
    // finds, and its children outlive it. In name spaces of its own all of that ends with it, even
    // when it is killed.
    program("unshare", BOOTSTRAP)
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "mmdebstrap"])
        .env("TMPDIR", &temporary)
        .args(["--quiet", "--mode=root", "--format=directory", "--variant=minbase"])
        // As its own user apt could not enter a private directory of root's.
        .arg("--aptopt=APT::Sandbox::User \"root\"")
        // A build that is cut off leaves nothing to be saved.
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(suite)
        .arg(root)
        .run_cancellable(cancel)
        .map(drop)
        .map_err(|source| BuildError::Program { action: "install Debian", source })
}

/// Makes the installation an image for many VMs.
pub(super) fn customise(root: &Path, kernel: &KernelPackage) -> Result<(), BuildError> {
    // Every VM has its own; these would be everybody's.
    let ssh = root.join("etc/ssh");
    for entry in fs::read_dir(&ssh).doing("list", &ssh)? {
        let path = entry.doing("list", &ssh)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("ssh_host_") {
            fs::remove_file(&path).doing("remove", &path)?;
        }
    }
    // Of the machine that built it.
    for file in ["etc/hostname", "etc/resolv.conf"] {
        remove_if_present(&root.join(file))?;
    }
    write(root, "etc/machine-id", "")?;
    write(root, "etc/default/locale", "LANG=C.UTF-8\n")?;
    for unit in DISABLED {
        remove_if_present(&root.join("etc/systemd/system").join(unit))?;
    }
    write(
        root,
        "etc/ssh/sshd_config.d/50-root-by-key.conf",
        "PermitRootLogin prohibit-password\n",
    )?;
    for unit in MASKED {
        mask(&root.join("etc/systemd/system").join(unit))?;
    }
    mask(&root.join(DRIVER_RULE))?;
    // Without it the modules of the running kernel could not be loaded later, as container tools do.
    let modules = root.join("lib/modules").join(&kernel.release);
    move_modules(&kernel.modules, &modules)?;
    // Last: what is changed in /usr after it would make the marks too old.
    UPDATED.iter().try_for_each(|file| mark_updated(root, file))
}

/// Gives the mark the time of `/usr`.
fn mark_updated(root: &Path, file: &str) -> Result<(), BuildError> {
    let usr = root.join("usr");
    let modified = fs::metadata(&usr).and_then(|found| found.modified()).doing("inspect", &usr)?;
    let mark = root.join(file);
    let create = || fs::File::create(&mark)?.set_modified(modified);
    create().doing("write", &mark)
}

/// Makes systemd and udev take the file for empty, whatever the distribution ships.
fn mask(path: &Path) -> Result<(), BuildError> {
    remove_if_present(path)?;
    symlink("/dev/null", path).doing("create the link", path)
}

/// Lists the installed packages, by name.
pub(super) fn installed_packages(root: &Path) -> Result<Vec<PackageVersion>, BuildError> {
    let path = root.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).doing("read", &path)?;
    Ok(parse_status(&status))
}

/// Writes the tree as an ext4 image of the given virtual size.
pub(super) fn write_image(
    root: &Path,
    image: &Path,
    size: MiB,
    cancel: &AtomicBool,
) -> Result<(), BuildError> {
    ext4::write(root, image, size, Inodes::Usual, cancel)
        .map_err(|source| BuildError::Program { action: "write the root file system", source })
}

fn remove_if_present(path: &Path) -> Result<(), BuildError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path),
    }
}

fn write(root: &Path, file: &str, content: &str) -> Result<(), BuildError> {
    let path = root.join(file);
    fs::write(&path, content).doing("write", &path)
}

/// Moves the module tree below the root; both are in the workshop.
fn move_modules(from: &Path, to: &Path) -> Result<(), BuildError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).doing("create the directory", parent)?;
    }
    fs::rename(from, to).doing("move the modules to", to)
}

/// The packages in dpkg's status file that are installed.
fn parse_status(status: &str) -> Vec<PackageVersion> {
    let field = |paragraph: &str, name: &str| {
        paragraph
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let installed = status.split("\n\n").filter_map(|paragraph| {
        (field(paragraph, "Status:")?.ends_with(" installed")).then_some(())?;
        let name = field(paragraph, "Package:")?;
        Some(PackageVersion { name, version: field(paragraph, "Version:")? })
    });
    let mut packages: Vec<_> = installed.collect();
    packages.sort();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_as_old_as_usr() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("usr")).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        mark_updated(root.path(), "etc/.updated").unwrap();
        let modified = |file| fs::metadata(root.path().join(file)).unwrap().modified().unwrap();
        assert_eq!(modified("etc/.updated"), modified("usr"));
    }

    #[test]
    fn a_unit_that_is_there_is_masked() {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("noise.service");
        fs::write(&unit, "[Unit]").unwrap();
        mask(&unit).unwrap();
        assert_eq!(fs::read_link(&unit).unwrap(), Path::new("/dev/null"));
    }

    #[test]
    fn only_installed_packages_are_listed() {
        let status = "Package: udev\nStatus: install ok installed\nVersion: 252\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: bash\nStatus: install ok installed\nVersion: 5.2\n";
        let names: Vec<_> =
            parse_status(status).into_iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(names, ["bash 5.2", "udev 252"]);
    }
}
