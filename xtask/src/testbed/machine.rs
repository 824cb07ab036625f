//! The machine that plays the host: QEMU's arguments.

use super::place::{Disks, Place};
use crate::cmd::Cmd;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::path::Path;

/// Where the host's sshd answers in the keeper's network.
pub(super) const SSH_PORT: u16 = 2222;
/// The name under which the host sees the programs.
pub(super) const SHARE_TAG: &str = "share";

/// Taken by the kernel alone: the rest of the host is as Debian makes it. The mitigations guard
/// against what an emulated processor does not do, and cost a tenth of its time. KVM would keep a
/// processor busy for a moment in which a guest sleeps, which here takes it from the others.
const KERNEL: &str = "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 \
                      systemd.show_status=0 kvm.halt_poll_ns=0 rootflags=noinit_itable";

/// The emulated processor. QEMU 7.2 loses track of whether AVX is enabled when it goes from the host
/// to a guest of its and back, and takes AVX's instructions for invalid ones: in the guests `cksum`
/// was killed, and now and then something that they cannot do without. ERMS and FSRM promise that
/// string instructions are quick, and QEMU takes them byte by byte: with them the host's kernel was
/// seen to clear memory for a VM for four seconds on end, and Firecracker to take up to ten, beside
/// other work more than thirty, to start one.
const EMULATED: &str = "max,+svm,+npt,-avx,-avx2,-fma,-f16c,-erms,-fsrm";

/// What runs the host's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Acceleration {
    /// The machine's KVM, which can run guests of guests.
    Kvm,
    /// QEMU, as an AMD processor with SVM.
    Emulation,
}

impl Acceleration {
    /// What this machine can do.
    pub(super) fn detect() -> Self {
        let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let nested = ["intel", "amd"]
            .map(|maker| read(&format!("/sys/module/kvm_{maker}/parameters/nested")));
        if opens && can_nest(&read("/proc/cpuinfo"), &nested) { Self::Kvm } else { Self::Emulation }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Kvm => "the machine's KVM",
            Self::Emulation => "QEMU's emulation of a processor with SVM",
        }
    }

    /// How many processors the host has. With two emulated ones, hosts froze or panicked after 2 to
    /// 25 minutes with VMs in them, and VMs died: QEMU 7.2 then loses interrupts or takes them
    /// where the processor has them disabled.
    const fn processors(self) -> &'static str {
        match self {
            Self::Kvm => "2",
            Self::Emulation => "1",
        }
    }

    const fn args(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Emulation => ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", EMULATED],
        }
    }
}

/// Whether the processor has an extension, and the module that drives it passes it on.
fn can_nest(cpuinfo: &str, nested: &[String]) -> bool {
    let has_flag = cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"));
    has_flag && nested.iter().any(|value| matches!(value.trim(), "1" | "Y"))
}

/// QEMU, which ends with the process that starts it.
pub(super) fn qemu(place: &Place, disks: &Disks, how: Acceleration, boot: u32) -> Result<Cmd> {
    // A comma ends an option's value in QEMU's arguments, two stand for one.
    let text = |path: &Path| {
        let text = path.to_str().context("the workspace's path is no UTF-8")?;
        Ok::<_, anyhow::Error>(text.replace(',', ",,"))
    };
    let disk = |path: &Path, more: &str| {
        Ok::<_, anyhow::Error>(format!("file={},format=raw,if=virtio,{more}", text(path)?))
    };
    let network = format!("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{SSH_PORT}-:22");
    let share = format!(
        "local,path={},mount_tag={SHARE_TAG},security_model=none,readonly=on",
        text(&place.share())?
    );
    Ok(Cmd::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-M", "q35"])
        .args(how.args())
        .args(["-smp", how.processors(), "-m", "4096", "-nodefaults", "-no-user-config"])
        .args(["-nographic", "-no-reboot", "-kernel"])
        .arg(disks.host.join("vmlinuz"))
        .arg("-initrd")
        .arg(disks.host.join("initrd"))
        .args(["-append", KERNEL, "-serial", &format!("file:{}", text(&place.console(boot))?)])
        // What is written goes to a file without a name, in the directory TMPDIR.
        .args(["-drive", &disk(&disks.host.join("disk"), "snapshot=on,cache=unsafe")?])
        .args(["-drive", &disk(&disks.bundle, "readonly=on")?])
        .args(["-netdev", &network, "-device", "virtio-net-pci,netdev=n0,romfile="])
        .args(["-virtfs", &share, "-device", "virtio-rng-pci"])
        .env("TMPDIR", place.run()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_needs_the_flag_and_nesting() {
        let (flag, none) = ("model name : svm\nflags\t\t: fpu svm\n", "flags : fpu svm_lock\n");
        let nested = |value: &str| [String::new(), value.to_owned()];
        assert!(can_nest(flag, &nested("1\n")));
        assert!(can_nest(flag, &nested("Y\n")));
        assert!(!can_nest(flag, &nested("0\n")));
        assert!(!can_nest(flag, &nested("")));
        assert!(!can_nest(none, &nested("1\n")));
    }
}
