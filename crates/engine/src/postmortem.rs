//! What is kept of VMs of which nothing else is: the raw output and the error of creates and first
//! starts that failed. Of more than a few of them, the oldest go.

use crate::error::EngineError;
use crate::shared::now;
use crate::view::VmView;
use banger_core::error::chain;
use banger_core::id::{OpId, VmId};
use banger_core::names::Layout;
use banger_core::vm::UnixMillis;
use banger_core::vm_name::VmName;
use banger_host::raw_log::read_kept;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many VMs something is kept of. With both logs of each at their longest that is 60 MiB.
const KEPT: usize = 20;

/// A VM that failed before it could be of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remains {
    pub(crate) name: VmName,
    pub(crate) id: VmId,
    /// Why it failed, with its causes.
    pub(crate) error: String,
    /// The operation that failed.
    #[serde(default)]
    pub(crate) op_id: Option<OpId>,
    pub(crate) failed_at: UnixMillis,
}

impl Remains {
    pub(crate) fn console_log(&self, layout: &Layout) -> PathBuf {
        saved(layout, &self.name, &self.id, "-console.log")
    }

    pub(crate) fn vmm_log(&self, layout: &Layout) -> PathBuf {
        saved(layout, &self.name, &self.id, "-vmm.log")
    }
}

fn dir(layout: &Layout) -> PathBuf {
    layout.state_dir().join("failed")
}

fn saved(layout: &Layout, name: &VmName, id: &VmId, kind: &str) -> PathBuf {
    dir(layout).join(format!("{name}-{id}{kind}"))
}

/// Saves the error, and the logs out of the VM's directory, which is about to go. If the error names
/// one of them, it is pointed at the copy.
pub(crate) fn keep(layout: &Layout, view: &VmView, error: &mut EngineError) {
    let (name, id) = (view.vm.name.clone(), view.vm.id.clone());
    let op_id = view.vm.changed_by.clone();
    let remains = Remains { name, id, error: chain(error), op_id, failed_at: now() };
    let logs = [
        (&view.paths.console_log, remains.console_log(layout)),
        (&view.paths.vmm_log, remains.vmm_log(layout)),
    ];
    let named = error.log_path().cloned();
    let result = record(layout, &remains).and_then(|()| {
        for (log, copy) in &logs {
            // Where a first attempt has saved it, it is gone by the second.
            if log.exists() {
                fs::write(copy, read_kept(log)?)?;
            }
        }
        Ok(())
    });
    match result {
        Ok(()) => {
            if let Some((_, copy)) = logs.into_iter().find(|(log, _)| named.as_ref() == Some(*log))
            {
                error.relocate_log(copy);
            }
        }
        Err(error) => tracing::warn!(%error, vm_id = %view.vm.id, "the logs could not be saved"),
    }
    prune(layout, KEPT);
}

fn record(layout: &Layout, remains: &Remains) -> io::Result<()> {
    fs::create_dir_all(dir(layout))?;
    let text = serde_json::to_vec(remains).expect("texts and a number can be written as JSON");
    fs::write(saved(layout, &remains.name, &remains.id, ".json"), text)
}

/// The newest of the VMs with exactly this name or id of which something is kept.
pub(crate) fn find(layout: &Layout, reference: &str) -> Option<Remains> {
    let named =
        |remains: &Remains| remains.name.as_str() == reference || remains.id.as_str() == reference;
    all(layout).into_iter().rev().find(named)
}

/// All, the oldest first. A record that cannot be read is none.
fn all(layout: &Layout) -> Vec<Remains> {
    let read =
        |path: &Path| -> Option<Remains> { serde_json::from_slice(&fs::read(path).ok()?).ok() };
    let entries = fs::read_dir(dir(layout)).into_iter().flatten().flatten();
    let records = entries.map(|entry| entry.path());
    let records = records.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let mut all: Vec<Remains> = records.filter_map(|path| read(&path)).collect();
    all.sort_by_key(|remains| remains.failed_at);
    all
}

/// Removes what is kept of all but the newest.
fn prune(layout: &Layout, count: usize) {
    let all = all(layout);
    for old in &all[..all.len().saturating_sub(count)] {
        let record = saved(layout, &old.name, &old.id, ".json");
        for path in [old.console_log(layout), old.vmm_log(layout), record] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "an old log stays");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remains(layout: &Layout, number: u64) -> Remains {
        let remains = Remains {
            name: "otter".parse().unwrap(),
            id: VmId::from_entropy(number),
            error: format!("failure {number}"),
            op_id: None,
            failed_at: UnixMillis(i64::try_from(number).unwrap()),
        };
        record(layout, &remains).unwrap();
        fs::write(remains.console_log(layout), "console").unwrap();
        remains
    }

    #[test]
    fn only_the_newest_are_kept_and_the_newest_of_a_name_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("s"), dir.path().join("r")).unwrap();
        assert_eq!(find(&layout, "otter"), None);
        let all: Vec<Remains> = (1..=5).map(|number| remains(&layout, number)).collect();
        prune(&layout, 3);
        let left: Vec<_> = fs::read_dir(super::dir(&layout)).unwrap().collect();
        assert_eq!(left.len(), 6, "three records and three logs: {left:?}");
        assert!(!all[1].console_log(&layout).exists() && all[2].console_log(&layout).exists());
        assert_eq!(find(&layout, "otter").as_ref(), Some(&all[4]));
        assert_eq!(find(&layout, all[2].id.as_str()).as_ref(), Some(&all[2]));
        assert_eq!(find(&layout, "ott"), None);
    }
}
