//! Where programs run, so that a figure has no luck in it.
//!
//! A lone query wakes the server, and its answer wakes the asker. How long that takes depends above
//! all on whether the kernel has put both on one processor, or has to wake another one from its sleep.
//! It changes its mind from time to time, for each server by itself. So the asker and the threads that
//! answer it run on one, and what else a server does is where the kernel puts it.

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use std::fs;

/// This thread and others' on one processor, until this is dropped.
#[derive(Debug)]
pub(super) struct OneProcessor {
    before: Vec<(Pid, CpuSet)>,
}

impl OneProcessor {
    /// Puts them there: of each process the threads of a name.
    pub(super) fn with(others: &[(Pid, &str)]) -> Result<Self> {
        let mut place = Self { before: Vec::new() };
        place.put(gettid())?;
        for (process, name) in others {
            let named = threads(*process, name)?;
            if named.is_empty() {
                bail!("no thread of process {} is called `{name}`", process.as_raw_nonzero());
            }
            named.into_iter().try_for_each(|thread| place.put(thread))?;
        }
        Ok(place)
    }

    fn put(&mut self, thread: Pid) -> Result<()> {
        let place = || {
            let before = sched_getaffinity(Some(thread))?;
            let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).unwrap_or_default();
            let mut one = CpuSet::new();
            one.set(first);
            sched_setaffinity(Some(thread), &one)?;
            rustix::io::Result::Ok(before)
        };
        let before = place().with_context(|| format!("cannot place the thread {thread:?}"))?;
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

/// The threads of a process that have a name (proc_pid_comm(5): at most 15 bytes).
fn threads(process: Pid, name: &str) -> Result<Vec<Pid>> {
    let path = format!("/proc/{}/task", process.as_raw_nonzero());
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    let named = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        (comm.trim_end() == name).then(|| entry.file_name().to_str()?.parse().ok())?
    });
    Ok(named.filter_map(Pid::from_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_thread_is_on_one_processor_and_then_where_it_was() {
        let before = sched_getaffinity(None).unwrap();
        let (go, gone) = channel::<()>();
        let (runs, running) = channel();
        let named = thread::Builder::new().name("bench-place".to_owned());
        let waiting = named.spawn(move || {
            runs.send(()).unwrap();
            gone.recv().unwrap_err()
        });
        let waiting = waiting.unwrap();
        // A thread gives itself its name when it begins to run.
        running.recv().unwrap();
        let place = OneProcessor::with(&[(getpid(), "bench-place")]).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        let others = place.before.iter().filter(|(thread, _)| *thread != gettid());
        let others: Vec<_> = others.map(|(thread, _)| *thread).collect();
        assert_eq!(others.len(), 1, "and no other thread");
        assert_eq!(sched_getaffinity(Some(others[0])).unwrap().count(), 1);
        drop(place);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        assert_eq!(sched_getaffinity(Some(others[0])).unwrap(), before);
        drop(go);
        waiting.join().unwrap();
    }

    #[test]
    fn a_name_that_no_thread_has_is_told() {
        let error = OneProcessor::with(&[(getpid(), "no-such-thread")]).unwrap_err();
        assert!(error.to_string().contains("is called `no-such-thread`"), "{error}");
    }
}
