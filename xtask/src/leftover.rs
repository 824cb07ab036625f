//! What is on the machine that was not there before.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of what was removed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The objects on the machine of the kinds that banger makes: links, TAPs among them, loop devices
/// with their files, device-mapper devices, named network namespaces, directories in `/run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inventory(BTreeSet<String>);

impl Inventory {
    /// What is there now.
    pub(crate) fn take() -> Result<Self> {
        let mut all = BTreeSet::new();
        all.extend(names("/sys/class/net")?.into_iter().map(|name| format!("link {name}")));
        for name in names("/sys/block")? {
            let dir = Path::new("/sys/block").join(&name);
            if let Ok(file) = fs::read_to_string(dir.join("loop/backing_file")) {
                all.insert(format!("loop device {name} on {}", file.trim()));
            }
            if let Ok(device) = fs::read_to_string(dir.join("dm/name")) {
                all.insert(format!("device-mapper device {}", device.trim()));
            }
        }
        for name in names("/run/netns")? {
            all.insert(format!("network namespace {name}"));
        }
        for name in names("/run")?.into_iter().filter(|name| name.starts_with("banger")) {
            all.insert(format!("directory /run/{name}"));
        }
        Ok(Self(all))
    }

    fn beyond(&self, then: &Self) -> Vec<String> {
        self.0.difference(&then.0).cloned().collect()
    }

    /// What is there now and was not then. It waits for a moment for that to be nothing.
    pub(crate) fn added_since(then: &Self) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::take()?;
            let added = now.beyond(then);
            if added.is_empty() || Instant::now() > deadline {
                return Ok(added);
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// The processes in this process's namespace but process 1 and this one, with their names.
pub(crate) fn processes() -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    let own = std::process::id();
    loop {
        let mut found = Vec::new();
        for name in names("/proc")? {
            let Ok(pid) = name.parse::<u32>() else { continue };
            // A process may end while this is reading.
            let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
            if pid != 1
                && pid != own
                && let Ok(comm) = comm
            {
                found.push(format!("process {pid} ({})", comm.trim()));
            }
        }
        if found.is_empty() || Instant::now() > deadline {
            return Ok(found);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn names(dir: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot list {dir}"))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("cannot list {dir}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_not_left_over() {
        let now = Inventory::take().unwrap();
        assert!(now.0.contains("link lo"));
        assert_eq!(now.beyond(&now), Vec::<String>::new());
        let mut then = now.clone();
        then.0.remove("link lo");
        then.0.insert("link gone0".to_owned());
        assert_eq!(now.beyond(&then), ["link lo"]);
    }
}
