//! The host's own disk: a Debian with its stock kernel and initrd.
//!
//! Built once for each recipe: the directory's name has a digest of all that decides what is in it,
//! but for the versions of the packages.

use super::entry::ALIAS;
use super::machine::SHARE_TAG;
use super::place::{Place, remove};
use crate::cmd::Cmd;
use crate::daemon::fnv1a;
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SUITE: &str = "bookworm";
/// For 200 packages over a slow line.
const INSTALL: Duration = Duration::from_secs(1800);
const WRITE: Duration = Duration::from_secs(300);
/// Room for what the tests make; what is not used takes none.
const SIZE: &str = "24G";
/// Counts changes of this file that the lists below do not show.
const RECIPE: u32 = 1;

/// What is installed beside Debian's minimum.
const PACKAGES: [&str; 32] = [
    "btrfs-progs",
    "ca-certificates",
    "curl",
    "dbus",
    "dmsetup",
    "dnsmasq-base",
    "e2fsprogs",
    "firewalld",
    "initramfs-tools",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "less",
    "linux-image-amd64",
    "netcat-openbsd",
    "network-manager",
    "nftables",
    "openssh-client",
    "openssh-server",
    "procps",
    "psmisc",
    "skopeo",
    "strace",
    "systemd-resolved",
    "systemd-sysv",
    "tcpdump",
    "udev",
    "umoci",
    "unbound",
    "vim-tiny",
    "xfsprogs",
];

/// What is not unpacked: nobody reads it, and no such hardware is there.
const LEFT_OUT: [&str; 7] = [
    "/lib/modules/*/kernel/drivers/gpu/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/sound/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// What the installation already finds. An initrd with these modules alone is small and thus quickly
/// unpacked, and the network is there before anything asks for it.
const BEFORE: [(&str, &str); 2] = [
    ("etc/initramfs-tools/conf.d/testbed", "MODULES=list\nCOMPRESS=gzip\nFSTYPE=ext4\n"),
    ("usr/share/initramfs-tools/modules.d/testbed", "virtio_pci\nvirtio_blk\nvirtio_net\next4\n"),
];

/// What is written into the installation.
const AFTER: [(&str, &str); 8] = [
    ("etc/hostname", "testbed\n"),
    ("etc/hosts", "127.0.0.1 localhost testbed\n::1 localhost\n"),
    ("etc/resolv.conf", ""),
    ("etc/machine-id", "7e57bed0000000000000000000000000\n"),
    // Of QEMU's user network, in which nobody else answers. A network daemon would take longer.
    (
        "etc/systemd/system/address.service",
        "[Unit]\nDefaultDependencies=no\nBefore=ssh.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/ip address replace 10.0.2.15/24 dev eth0\n\
         ExecStart=/bin/ip link set eth0 up\n",
    ),
    // Over 9p each start of a program would read all of it again.
    (
        "etc/systemd/system/programs.service",
        "[Unit]\nRequiresMountsFor=/mnt/share\nBefore=ssh.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/cp --recursive --update --remove-destination /mnt/share/. /opt/banger\n",
    ),
    (
        "etc/ssh/sshd_config.d/testbed.conf",
        "HostKey /etc/ssh/ssh_host_ed25519_key\nMaxStartups 100\nMaxSessions 100\nUseDNS no\n",
    ),
    // For every login: banger's daemon and tests find all they need.
    (
        "etc/environment",
        "PATH=/opt/banger/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         LANG=C.UTF-8\n\
         BANGER_BUNDLE_DIR=/opt/bundle\n\
         BANGER_VMM=firecracker\n\
         BANGER_OVERLAY=dm-snapshot\n\
         BANGER_TEST_PROGRAMS=/opt/banger/bin\n",
    ),
];

/// Units that have no work here. The tests start resolvers of their own, in networks of their own.
const MASKED: [&str; 25] = [
    "NetworkManager-dispatcher.service",
    "NetworkManager-wait-online.service",
    "NetworkManager.service",
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "firewalld.service",
    "getty-static.service",
    "getty@tty1.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "nftables.service",
    "serial-getty@ttyS0.service",
    "systemd-binfmt.service",
    "systemd-logind.service",
    "systemd-pstore.service",
    "systemd-resolved.service",
    "unbound-resolvconf.service",
    "unbound.service",
];

/// The directory with the disk, which is built if need be. It needs root.
pub(super) fn ensure(place: &Place) -> Result<PathBuf> {
    let dir = place.kept(&format!("host-{}", key()));
    if dir.is_dir() {
        return Ok(dir);
    }
    eprintln!("building the host's disk; this takes some minutes");
    let part = place.kept("part");
    // What an interrupted build left.
    remove(&part)?;
    fs::create_dir_all(part.join("tmp"))
        .with_context(|| format!("cannot create {}", part.display()))?;
    let built = build(&part);
    if built.is_ok() {
        for scrap in ["root", "tmp", "before"] {
            remove(&part.join(scrap))?;
        }
        fs::rename(&part, &dir).with_context(|| format!("cannot write {}", dir.display()))?;
    } else {
        remove(&part)?;
    }
    built?;
    Ok(dir)
}

fn key() -> String {
    let input = format!(
        "{RECIPE} {SUITE} {SIZE} {PACKAGES:?} {LEFT_OUT:?} {BEFORE:?} {AFTER:?} {MASKED:?} {}",
        fstab()
    );
    format!("{:016x}", fnv1a(input.as_bytes()))
}

fn fstab() -> String {
    format!(
        "/dev/vdb /opt/bundle ext4 ro 0 0\n\
         {SHARE_TAG} /mnt/share 9p trans=virtio,version=9p2000.L,msize=524288,ro 0 0\n"
    )
}

fn build(part: &Path) -> Result<()> {
    let root = part.join("root");
    install(part, &root)?;
    Cmd::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f"])
        .arg(part.join("key"))
        .run()?;
    customise(part, &root)?;
    for (name, to) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
        copy(&only_entry(&root.join("boot"), name)?, &part.join(to))?;
    }
    Cmd::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1", "-d"])
        .args([&root, &part.join("disk")])
        .arg(SIZE)
        .timeout(WRITE)
        .run()
}

fn install(part: &Path, root: &Path) -> Result<()> {
    let before = part.join("before");
    for (file, content) in BEFORE {
        write(&before, file, content)?;
    }
    let hook = ["etc", "usr"].map(|dir| before.join(dir).display().to_string()).join(" ");
    // Its mounts and its children end with the namespaces, even when it is killed.
    Cmd::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "mmdebstrap"])
        .args(["--quiet", "--mode=root", "--format=directory", "--variant=minbase"])
        .args(["--aptopt=APT::Sandbox::User \"root\"", "--dpkgopt=force-unsafe-io"])
        .args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
        .arg(format!("--essential-hook=copy-in {hook} /"))
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(SUITE)
        .arg(root)
        .env("TMPDIR", part.join("tmp"))
        .timeout(INSTALL)
        .run()
        .context("check that the Debian archive can be reached")
}

fn customise(part: &Path, root: &Path) -> Result<()> {
    for (file, content) in AFTER {
        write(root, file, content)?;
    }
    write(root, "etc/fstab", &fstab())?;
    for dir in ["opt/bundle", "opt/banger", "mnt/share"] {
        fs::create_dir_all(root.join(dir)).with_context(|| format!("cannot create /{dir}"))?;
    }
    let public = read(&part.join("key.pub"))?;
    write(root, "root/.ssh/authorized_keys", &public)?;
    fs::set_permissions(root.join("root/.ssh"), Permissions::from_mode(0o700))
        .context("cannot close /root/.ssh")?;
    let host_key = read(&root.join("etc/ssh/ssh_host_ed25519_key.pub"))?;
    write(part, "known_hosts", &format!("{ALIAS} {host_key}"))?;
    let units = root.join("etc/systemd/system");
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    let wanted = units.join("multi-user.target.wants");
    ["address.service", "programs.service"]
        .iter()
        .try_for_each(|unit| link(&format!("../{unit}"), &wanted.join(unit)))
}

fn write(root: &Path, file: &str, content: &str) -> Result<()> {
    let path = root.join(file);
    // It may be a link to somewhere outside of the root.
    remove(&path)?;
    let dir = path.parent().unwrap_or(root);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot write {}", to.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    remove(path)?;
    symlink(target, path).with_context(|| format!("cannot write {}", path.display()))
}

fn only_entry(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut fits = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    match (fits.next(), fits.next()) {
        (Some(only), None) => Ok(only),
        _ => bail!("there is not exactly one {prefix}* in {}", dir.display()),
    }
}
