//! What is on the machine that was not there before.

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of what was removed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which objects are looked at.
#[derive(Debug, Clone)]
enum Kind {
    /// Loop devices over files below these directories, and device-mapper devices with banger's
    /// names. Others on the machine may come and go.
    Devices(Vec<PathBuf>),
    /// Links, TAPs and bridges among them, of this process's network.
    Links,
}

/// The objects of a kind that are there at some time.
#[derive(Debug, Clone)]
pub(crate) struct Inventory {
    kind: Kind,
    objects: BTreeSet<String>,
}

impl Inventory {
    /// The devices that there are now over files of the workspace's `target/` or of tests.
    pub(crate) fn of_devices(workspace: &Workspace) -> Result<Self> {
        Self::take(Kind::Devices(vec![workspace.target(), std::env::temp_dir()]))
    }

    /// The links that there are now. Only in an enclosure are all of them banger's.
    pub(crate) fn of_links() -> Result<Self> {
        Self::take(Kind::Links)
    }

    fn take(kind: Kind) -> Result<Self> {
        let objects = match &kind {
            Kind::Devices(dirs) => devices(dirs)?,
            Kind::Links => {
                names("/sys/class/net")?.into_iter().map(|name| format!("link {name}")).collect()
            }
        };
        Ok(Self { kind, objects })
    }

    /// What is there now and was not then. It waits for a moment for that to be nothing.
    pub(crate) fn left_since(&self) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = Self::take(self.kind.clone())?.beyond(self);
            if left.is_empty() || Instant::now() > deadline {
                return Ok(left);
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn beyond(&self, then: &Self) -> Vec<String> {
        self.objects.difference(&then.objects).cloned().collect()
    }
}

fn devices(dirs: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for name in names("/sys/block")? {
        let dir = Path::new("/sys/block").join(&name);
        if let Ok(file) = fs::read_to_string(dir.join("loop/backing_file"))
            && dirs.iter().any(|dir| Path::new(file.trim()).starts_with(dir))
        {
            all.insert(format!("loop device {name} on {}", file.trim()));
        }
        if let Ok(device) = fs::read_to_string(dir.join("dm/name"))
            && device.starts_with("banger-")
        {
            all.insert(format!("device-mapper device {}", device.trim()));
        }
    }
    Ok(all)
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
        let now = Inventory::of_links().unwrap();
        assert!(now.objects.contains("link lo"));
        assert_eq!(now.left_since().unwrap(), Vec::<String>::new());
        let mut then = now.clone();
        then.objects.remove("link lo");
        then.objects.insert("link gone0".to_owned());
        assert_eq!(now.beyond(&then), ["link lo"]);
    }
}
