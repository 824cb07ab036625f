//! The host as the checks before a start and `banger doctor` see it: a plain value, gathered once.

use super::{Distribution, device_mapper, free_space, is_root, tap_available};
use crate::cmd::{Cmd, find_program};
use crate::linux;
use banger_core::unit::Bytes;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A few files are looked at, no program is run: before a start.
    Quick,
    /// Programs are asked too.
    Whole,
}

/// What can be known of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Whose packages it has.
    pub distribution: Distribution,
    /// Whether the daemon has root's privileges.
    pub root: bool,
    /// Whether `/dev/kvm` can be opened for reading and writing.
    pub kvm_opens: bool,
    /// Whether TAP interfaces can be made; else the reason, as a clause.
    pub tun: Result<(), String>,
    /// The program `nft`.
    pub nft: Option<PathBuf>,
    /// The program `mke2fs`.
    pub mke2fs: Option<PathBuf>,
    /// Whether device-mapper can be used; else the reason, as a clause.
    pub device_mapper: Result<(), String>,
    /// Whether the kernel filters what crosses a bridge; `None` where it was not asked.
    pub bridge_filter: Option<Result<(), String>>,
    /// Whether the host forwards packets.
    pub forwarding: Option<bool>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// The room that is left for VMs; else the reason, as a clause.
    pub room: Result<Bytes, String>,
}

/// The host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it, with swap.
    pub total: Bytes,
    /// What can be had without pushing anything out (`MemAvailable`).
    pub available: Bytes,
}

impl HostFacts {
    /// Looks at this host; `vms_dir` is where the disks of VMs are.
    pub fn gather(vms_dir: &Path, depth: Depth) -> Self {
        let nft = find_program("nft");
        let root = is_root();
        // As another user nft says nothing about the kernel.
        let ask = depth == Depth::Whole && root && nft.is_some();
        Self {
            distribution: Distribution::of_this_host(),
            root,
            kvm_opens: OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok(),
            tun: tap_available(),
            mke2fs: find_program("mke2fs"),
            device_mapper: device_mapper(),
            bridge_filter: ask.then(linux::bridge_filter),
            forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .ok()
                .map(|text| text.trim() != "0"),
            memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory(&text)),
            room: free_space(vms_dir)
                .map_err(|error| format!("`{}` cannot be looked at: {error}", vms_dir.display())),
            nft,
        }
    }
}

/// Reads proc_meminfo(5), whose figures are in KiB.
fn memory(meminfo: &str) -> Option<Memory> {
    let field = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = field("MemTotal")?.checked_add(field("SwapTotal").unwrap_or(0))?;
    Some(Memory { total: Bytes(total), available: Bytes(field("MemAvailable")?) })
}

/// The first line of what a program answers to `--version`.
pub fn version_line(program: &Path) -> Option<String> {
    let answer = Cmd::new(program).arg("--version").timeout(VERSION_TIMEOUT).run().ok()?;
    let text = String::from_utf8_lossy(&answer.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_swap_and_needs_what_it_is_made_of() {
        let text = "MemTotal:        2048 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\nSwapTotal: 1024 kB\n";
        let (total, available) = (Bytes(3 << 20), Bytes(1 << 20));
        assert_eq!(memory(text), Some(Memory { total, available }));
        assert_eq!(memory("MemTotal: 2048 kB\n"), None);
        assert_eq!(memory("MemTotal: many kB\nMemAvailable: 1 kB\n"), None);
    }

    #[test]
    fn this_host_can_be_looked_at_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let quick = HostFacts::gather(dir.path(), Depth::Quick);
        assert_eq!(quick.bridge_filter, None);
        assert!(quick.room.is_ok() && quick.memory.is_some());
        let whole = HostFacts::gather(&dir.path().join("gone"), Depth::Whole);
        assert!(whole.room.unwrap_err().contains("gone"));
        assert_eq!(whole.bridge_filter.is_some(), whole.root && whole.nft.is_some());
    }

    #[test]
    fn a_program_says_its_version_and_one_that_is_not_there_says_nothing() {
        assert!(version_line(Path::new("cp")).unwrap().starts_with("cp "));
        assert_eq!(version_line(Path::new("/no/such/program")), None);
    }
}
