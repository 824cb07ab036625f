//! Where programs run, so that a figure has no luck in it.
//!
//! A lone query wakes the server, and its answer wakes the asker. How long that takes depends above
//! all on whether the kernel has put both on one processor, or has to wake another one from its sleep.
//! It changes its mind from time to time, for each server by itself. So all run on one.

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use std::fs;

/// This thread and a process's on one processor, until this is dropped.
#[derive(Debug)]
pub(super) struct OneProcessor {
    before: Vec<(Pid, CpuSet)>,
}

impl OneProcessor {
    /// Puts them there.
    pub(super) fn with(process: Pid) -> Result<Self> {
        let mut place = Self { before: Vec::new() };
        for thread in threads(process)?.into_iter().chain([gettid()]) {
            place.put(thread).with_context(|| format!("cannot place the thread {thread:?}"))?;
        }
        Ok(place)
    }

    fn put(&mut self, thread: Pid) -> rustix::io::Result<()> {
        let before = sched_getaffinity(Some(thread))?;
        let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).unwrap_or_default();
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(Some(thread), &one)?;
        self.before.push((thread, before));
        Ok(())
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        for (thread, before) in self.before.drain(..).rev() {
            if let Err(error) = sched_setaffinity(Some(thread), &before) {
                eprintln!("a thread stays on one processor: {error}");
            }
        }
    }
}

/// The threads of a process.
fn threads(process: Pid) -> Result<Vec<Pid>> {
    let path = format!("/proc/{}/task", process.as_raw_nonzero());
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.filter_map(Pid::from_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn a_thread_is_on_one_processor_and_then_where_it_was() {
        let before = sched_getaffinity(None).unwrap();
        let place = OneProcessor::with(getpid()).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        drop(place);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
