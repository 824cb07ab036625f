//! Telling lines: what in a guest's or a VMM's output says why a VM is as it is.
//!
//! The words are those of Linux 5.10 to 6.12, systemd 252, QEMU 7.2 and Firecracker 1.12, of which
//! the part was taken that has not changed for long.

use crate::guest::{Stage, StageDetail, StageLine};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who has written a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The guest, to its console.
    Guest,
    /// The VMM, about itself.
    Vmm,
}

/// What a telling line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// banger-init gave up.
    GuestInitFailed,
    /// The kernel found no root device.
    NoRootDevice,
    /// The kernel, or banger-init, has no program to start.
    InitMissing,
    /// A program of the guest was killed for want of memory.
    OutOfMemory,
    /// The kernel gave up.
    KernelPanic,
    /// The kernel met a defect of its own.
    KernelDefect,
    /// A processor did not get on.
    Stall,
    /// A disk could not be read or written, or its file system is damaged.
    DiskTrouble,
    /// A file system of the guest is full.
    GuestDiskFull,
    /// The image's init waits for somebody at the console.
    Emergency,
    /// A service of the image did not start.
    ServiceFailed,
    /// The VMM cannot use KVM.
    NoKvm,
    /// The host has not the memory that the guest is to have.
    HostMemory,
    /// The VMM cannot use the VM's network interface.
    NoTap,
    /// The VMM cannot use one of its files.
    NoFile,
    /// The VMM was told by a signal to end.
    VmmSignalled,
    /// The VMM met a defect of its own.
    VmmDefect,
}

/// The first that fits a line counts.
const PATTERNS: [(Voice, &str, Telling); 44] = {
    use Telling::*;
    use Voice::{Guest, Vmm};
    [
        (Guest, "banger-init: failed ", GuestInitFailed),
        (Guest, "VFS: Unable to mount root fs", NoRootDevice),
        (Guest, "VFS: Cannot open root device", NoRootDevice),
        (Guest, "/dev/root: Can't open blockdev", NoRootDevice),
        (Guest, "Please append a correct \"root=\" boot option", NoRootDevice),
        (Guest, "No working init found", InitMissing),
        (Guest, "Requested init ", InitMissing),
        (Guest, "Failed to execute /init", InitMissing),
        (Guest, "check access for rdinit=", InitMissing),
        (Guest, "Out of memory: Kill", OutOfMemory),
        (Guest, "out of memory: Kill", OutOfMemory),
        (Guest, "invoked oom-killer", OutOfMemory),
        (Guest, "System is deadlocked on memory", OutOfMemory),
        (Guest, "Out of memory and no killable processes", OutOfMemory),
        (Guest, "Kernel panic - not syncing", KernelPanic),
        (Guest, "watchdog: BUG: soft lockup", Stall),
        (Guest, "self-detected stall on CPU", Stall),
        (Guest, "detected stalls on CPUs/tasks", Stall),
        (Guest, "blocked for more than ", Stall),
        (Guest, "BUG: kernel NULL pointer dereference", KernelDefect),
        (Guest, "BUG: unable to handle page fault", KernelDefect),
        (Guest, "general protection fault, ", KernelDefect),
        (Guest, "Oops: ", KernelDefect),
        (Guest, "EXT4-fs error (device ", DiskTrouble),
        (Guest, "VFS: Can't find ext4 filesystem", DiskTrouble),
        (Guest, "I/O error, dev ", DiskTrouble),
        (Guest, "Buffer I/O error on dev", DiskTrouble),
        (Guest, "No space left on device", GuestDiskFull),
        (Guest, "You are in emergency mode", Emergency),
        (Guest, "Press Enter for maintenance", Emergency),
        (Guest, "[FAILED] Failed to ", ServiceFailed),
        (Vmm, "failed to initialize kvm", NoKvm),
        (Vmm, "Could not access KVM kernel module", NoKvm),
        (Vmm, "Error creating KVM object", NoKvm),
        (Vmm, "cannot set up guest memory", HostMemory),
        (Vmm, "Cannot allocate memory", HostMemory),
        (Vmm, "could not configure /dev/net/tun", NoTap),
        (Vmm, "Open tap device failed", NoTap),
        (Vmm, "Could not open '", NoFile),
        (Vmm, "could not open kernel file", NoFile),
        (Vmm, "Failed to get \"write\" lock", NoFile),
        (Vmm, "terminating on signal", VmmSignalled),
        (Vmm, "panicked at", VmmDefect),
        (Vmm, "Assertion ", VmmDefect),
    ]
};

impl Telling {
    /// Every kind of telling line.
    pub const ALL: [Self; 17] = [
        Self::GuestInitFailed,
        Self::NoRootDevice,
        Self::InitMissing,
        Self::OutOfMemory,
        Self::KernelPanic,
        Self::KernelDefect,
        Self::Stall,
        Self::DiskTrouble,
        Self::GuestDiskFull,
        Self::Emergency,
        Self::ServiceFailed,
        Self::NoKvm,
        Self::HostMemory,
        Self::NoTap,
        Self::NoFile,
        Self::VmmSignalled,
        Self::VmmDefect,
    ];

    /// What a line says, if it says any of this.
    pub fn recognise(voice: Voice, line: &str) -> Option<Self> {
        let fits = |(of, words, _): &&(Voice, &str, Self)| *of == voice && line.contains(words);
        PATTERNS.iter().find(fits).map(|(_, _, telling)| *telling)
    }

    /// What it means, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::GuestInitFailed => "banger-init could not prepare the guest",
            Self::NoRootDevice => "the kernel found no root file system",
            Self::InitMissing => "there is no init that can be started",
            Self::OutOfMemory => "the guest ran out of memory",
            Self::KernelPanic => "the guest's kernel gave up",
            Self::KernelDefect => "the guest's kernel met a defect of its own",
            Self::Stall => "a processor or a task of the guest did not get on",
            Self::DiskTrouble => "a disk of the guest cannot be read or is damaged",
            Self::GuestDiskFull => "a disk of the guest is full",
            Self::Emergency => "the image's init gave up and waits at the console",
            Self::ServiceFailed => "a service of the image did not start",
            Self::NoKvm => "the VMM cannot use KVM",
            Self::HostMemory => "this machine has not the memory that the guest is to have",
            Self::NoTap => "the VMM cannot use the VM's network interface",
            Self::NoFile => "the VMM cannot use one of its files",
            Self::VmmSignalled => "somebody ended the VMM with a signal",
            Self::VmmDefect => "the VMM met a defect of its own",
        }
    }

    /// What a user can do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::GuestInitFailed => "the line names the stage and the cause",
            Self::NoRootDevice => {
                "use a kernel and an initrd that belong together, as in a bundle of `banger bundle build`"
            }
            Self::InitMissing => "use an image with an init, such as systemd, at `/sbin/init`",
            Self::OutOfMemory => "give the VM more: `banger vm set --memory 2G`",
            Self::KernelPanic | Self::KernelDefect => {
                "try the bundle's kernel, if the image brings its own"
            }
            Self::Stall => {
                "the machine is busy, or emulates the guest's processor: give the VM fewer processors"
            }
            Self::DiskTrouble => {
                "look for room and for errors of the disk that holds banger's state directory"
            }
            Self::GuestDiskFull => {
                "let it grow: `banger vm set --disk-size` or `--overlay-size`, then restart the VM"
            }
            Self::Emergency | Self::ServiceFailed => {
                "enter the VM if ssh answers, and ask `systemctl --failed`"
            }
            Self::NoKvm => "`banger doctor vm` says why; `vmm = \"qemu\"` works without KVM",
            Self::HostMemory => "stop other VMs, or give it less with `banger vm set --memory`",
            Self::NoTap => "another program may hold it; `banger doctor` compares what there is",
            Self::NoFile => {
                "the line names the file; `banger bundle show` tells whether it is there"
            }
            Self::VmmSignalled => "start the VM again with `banger vm start`",
            Self::VmmDefect => "start the VM again, and report it if it comes back",
        }
    }

    /// The word on the wire, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GuestInitFailed => "guest_init_failed",
            Self::NoRootDevice => "no_root_device",
            Self::InitMissing => "init_missing",
            Self::OutOfMemory => "out_of_memory",
            Self::KernelPanic => "kernel_panic",
            Self::KernelDefect => "kernel_defect",
            Self::Stall => "stall",
            Self::DiskTrouble => "disk_trouble",
            Self::GuestDiskFull => "guest_disk_full",
            Self::Emergency => "emergency",
            Self::ServiceFailed => "service_failed",
            Self::NoKvm => "no_kvm",
            Self::HostMemory => "host_memory",
            Self::NoTap => "no_tap",
            Self::NoFile => "no_file",
            Self::VmmSignalled => "vmm_signalled",
            Self::VmmDefect => "vmm_defect",
        }
    }
}

impl fmt::Display for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line of a log as people read it: without escape sequences and carriage returns.
pub fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A control sequence ends with its first byte from `@` to `~` (ECMA-48, section 5.4).
            '\u{1b}' if chars.peek() == Some(&'[') => {
                let _bracket = chars.next();
                let _last = chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
            '\u{1b}' | '\r' => {}
            c => text.push(c),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// A stage of a boot, with what the stage before it did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootStage {
    /// What was reached.
    pub stage: Stage,
    /// How long it took since the stage before, or since the kernel's start, in milliseconds.
    pub took_ms: u64,
    /// When, and what went wrong.
    pub detail: StageDetail,
}

/// The stages of the last boot that a console shows.
pub fn boot_stages<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<BootStage> {
    let mut stages: Vec<BootStage> = Vec::new();
    for StageLine { stage, detail } in lines.filter_map(StageLine::parse) {
        if stage == Stage::Start {
            stages.clear();
        }
        let before = stages.last().map_or(0, |before| before.detail.uptime_ms);
        stages.push(BootStage { stage, took_ms: detail.uptime_ms.saturating_sub(before), detail });
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines as programs really write them.
    #[rustfmt::skip]
    const REAL: [(Voice, &str, Option<Telling>); 35] = {
        use Telling::*;
        use Voice::{Guest, Vmm};
        [
            (Guest, "banger-init: failed {\"uptime_ms\":512,\"during\":\"root\",\"error\":\"could not mount\"}", Some(GuestInitFailed)),
            (Guest, "[    1.020312] VFS: Cannot open root device \"vda\" or unknown-block(0,0): error -6", Some(NoRootDevice)),
            (Guest, "[    3.361529] /dev/root: Can't open blockdev", Some(NoRootDevice)),
            (Guest, "[    1.023401] Please append a correct \"root=\" boot option; here are the available partitions:", Some(NoRootDevice)),
            (Guest, "[    1.024100] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", Some(NoRootDevice)),
            (Guest, "[    0.911200] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel. See Linux Documentation/admin-guide/init.rst for guidance.", Some(InitMissing)),
            (Guest, "[    0.911200] Kernel panic - not syncing: Requested init /nonexistent failed (error -2).", Some(InitMissing)),
            (Guest, "[    0.884530] Failed to execute /init (error -2)", Some(InitMissing)),
            (Guest, "[    0.790112] check access for rdinit=/nonexistent failed: -2, ignoring", Some(InitMissing)),
            (Guest, "[   73.100277] Out of memory: Killed process 312 (mysqld) total-vm:1822344kB, anon-rss:402112kB, file-rss:0kB, shmem-rss:0kB, UID:104 pgtables:1100kB oom_score_adj:0", Some(OutOfMemory)),
            (Guest, "[   73.099812] python3 invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0", Some(OutOfMemory)),
            (Guest, "[  101.5] Memory cgroup out of memory: Killed process 901 (node) total-vm:1kB", Some(OutOfMemory)),
            (Guest, "[    3.20] Kernel panic - not syncing: System is deadlocked on memory", Some(OutOfMemory)),
            (Guest, "[    2.001] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", Some(KernelPanic)),
            (Guest, "[   28.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]", Some(Stall)),
            (Guest, "[   60.4] rcu: INFO: rcu_preempt self-detected stall on CPU", Some(Stall)),
            (Guest, "[  243.2] INFO: task jbd2/vda-8:121 blocked for more than 120 seconds.", Some(Stall)),
            (Guest, "[    5.0] BUG: kernel NULL pointer dereference, address: 0000000000000008", Some(KernelDefect)),
            (Guest, "[    5.0] Oops: 0002 [#1] PREEMPT SMP NOPTI", Some(KernelDefect)),
            (Guest, "[    0.95] EXT4-fs error (device vda): ext4_lookup:1855: inode #2: comm init: iget: checksum invalid", Some(DiskTrouble)),
            (Guest, "[   12.7] I/O error, dev vda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2", Some(DiskTrouble)),
            (Guest, "dpkg: error: cannot copy extracted data: failed to write (No space left on device)", Some(GuestDiskFull)),
            (Guest, "You are in emergency mode. After logging in, type \"journalctl -xb\" to view", Some(Emergency)),
            (Guest, "[\u{1b}[0;1;31mFAILED\u{1b}[0m] Failed to start \u{1b}[0;1;39mssh.service\u{1b}[0m - OpenBSD Secure Shell server.", Some(ServiceFailed)),
            (Vmm, "Could not access KVM kernel module: Permission denied", Some(NoKvm)),
            (Vmm, "qemu-system-x86_64: failed to initialize kvm: Permission denied", Some(NoKvm)),
            (Vmm, "2026-02-03T10:11:12.000000Z qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory", Some(HostMemory)),
            (Vmm, "qemu-system-x86_64: -netdev tap,id=eth0: could not configure /dev/net/tun (b0t1): Device or resource busy", Some(NoTap)),
            (Vmm, "qemu-system-x86_64: -drive if=none: Could not open '/s/root.img': No such file or directory", Some(NoFile)),
            (Vmm, "qemu-system-x86_64: terminating on signal 15 from pid 812 (bash)", Some(VmmSignalled)),
            (Vmm, "thread 'fc_vcpu 0' panicked at src/vmm/src/vstate/vcpu.rs:300:14:", Some(VmmDefect)),
            (Guest, "[    0.000000] Linux version 6.1.0-18-cloud-amd64 (debian-kernel@lists.debian.org)", None),
            (Guest, "[  OK  ] Started ssh.service - OpenBSD Secure Shell server.", None),
            (Guest, "qemu-system-x86_64: terminating on signal 15", None),
            (Vmm, "2026-02-03T10:11:12.000000000 [anonymous-instance:main] Running Firecracker v1.12.1", None),
        ]
    };

    #[test]
    fn real_lines_are_recognised_and_others_are_not() {
        for (voice, line, telling) in REAL {
            assert_eq!(Telling::recognise(voice, &plain(line)), telling, "{line}");
        }
    }

    #[test]
    fn each_kind_has_a_pattern_a_real_line_a_meaning_and_a_remedy() {
        for telling in Telling::ALL {
            assert!(PATTERNS.iter().any(|(_, _, of)| *of == telling), "{telling}");
            assert!(REAL.iter().any(|(_, _, of)| *of == Some(telling)), "{telling}");
            assert!(!telling.meaning().is_empty() && !telling.remedy().is_empty());
            assert_eq!(serde_json::to_value(telling).unwrap(), telling.as_str());
        }
    }

    #[test]
    fn stages_carry_what_each_took_and_only_the_last_boot_counts() {
        let console = "\
            banger-init: start {\"uptime_ms\":900}\n\
            banger-init: start {\"uptime_ms\":240,\"version\":\"0.1.0\"}\n\
            [ 0.3] noise\n\
            banger-init: modules {\"uptime_ms\":310}\n\
            banger-init: failed {\"uptime_ms\":300,\"during\":\"network\",\"error\":\"no interface\"}\n";
        let stages = boot_stages(console.lines());
        let times: Vec<_> = stages.iter().map(|stage| (stage.stage, stage.took_ms)).collect();
        assert_eq!(times, [(Stage::Start, 240), (Stage::Modules, 70), (Stage::Failed, 0)]);
        assert_eq!(stages[2].detail.error.as_deref(), Some("no interface"));
    }

    #[test]
    fn escape_sequences_are_taken_out() {
        assert_eq!(plain("\u{1b}[0;1;31mred\u{1b}[0m end\r"), "red end");
        assert_eq!(plain("\u{1b}[2J\u{1b}[torn"), "orn");
        assert_eq!(plain("\u{1b}c\u{1b}["), "c");
    }

    proptest! {
        #[test]
        fn any_line_can_be_looked_at(line in ".{0,80}") {
            let _outcome = Telling::recognise(Voice::Guest, &plain(&line));
        }
    }
}
