//! What is on the machine, found out without banger: from `/proc`, `/sys` and `nft`.

use super::program::{has_ended, tool};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long the kernel may take to end a process that was sent SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// A process that has to do with a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) command: String,
}

/// The processes whose command line or environment has the directory in it.
pub(super) fn processes(dir: &Path) -> Vec<Process> {
    let mark = dir.to_str().unwrap();
    let has_mark = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(mark);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        // A process may end while this is reading.
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = read("cmdline");
        if has_mark(&command) || has_mark(&read("environ")) {
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(Process { pid, command });
        }
    }
    found.sort();
    found
}

/// Kills all of those processes.
pub(super) fn kill(dir: &Path) {
    loop {
        let found = processes(dir);
        if found.is_empty() {
            return;
        }
        for process in found {
            let Some(pid) = Pid::from_raw(process.pid) else { continue };
            // It may have ended meanwhile, which is as good.
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            pidfd_send_signal(&pidfd, Signal::KILL).ok();
            assert!(has_ended(&pidfd, KILL_LIMIT), "{process:?} does not end");
        }
    }
}

/// The interfaces of this network namespace.
pub(super) fn links() -> BTreeSet<String> {
    names("/sys/class/net")
}

/// The nft tables of this network namespace.
pub(super) fn tables() -> Vec<String> {
    tool("nft", &["list", "tables"]).lines().map(str::to_owned).collect()
}

/// The loop devices on files below the directory, by path.
pub(super) fn loops(dir: &Path) -> Vec<String> {
    let on_ours = |name: &String| {
        let file = Path::new("/sys/block").join(name).join("loop/backing_file");
        fs::read_to_string(file).is_ok_and(|file| Path::new(&file).starts_with(dir))
    };
    names("/sys/block").into_iter().filter(on_ours).map(|name| format!("/dev/{name}")).collect()
}

/// The device-mapper devices of an instance, by name.
pub(super) fn dm_devices(instance: &str) -> Vec<String> {
    let name = |device: &String| {
        fs::read_to_string(Path::new("/sys/block").join(device).join("dm/name")).ok()
    };
    let ours = format!("banger-{instance}-");
    let devices = names("/sys/block");
    let found = devices.iter().filter_map(name).map(|name| name.trim().to_owned());
    found.filter(|name| name.starts_with(&ours)).collect()
}

/// The names in a directory; none if it is not there.
pub(super) fn names(dir: impl AsRef<Path>) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
