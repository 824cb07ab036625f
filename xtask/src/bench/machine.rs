//! What machine this is.

use anyhow::{Context, Result};
use std::fmt;
use std::fs;

/// The machine, as far as it decides what a measurement is worth.
#[derive(Debug)]
pub(super) struct Machine {
    cpu: String,
    processors: usize,
    memory_mib: u64,
    kernel: String,
}

impl Machine {
    pub(super) fn read() -> Result<Self> {
        let (cpu, processors) = cpus(&read("/proc/cpuinfo")?);
        let memory_kib = kib(&read("/proc/meminfo")?, "MemTotal").context("no MemTotal")?;
        let kernel = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
        Ok(Self { cpu, processors, memory_mib: memory_kib / 1024, kernel })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, processors, memory_mib, kernel } = self;
        write!(f, "{cpu}, {processors} processors, {memory_mib} MiB of memory, Linux {kernel}")
    }
}

/// The load averages over 1, 5 and 15 minutes.
pub(super) fn load() -> Result<String> {
    let text = read("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(", "))
}

/// A number of KiB from a text with lines such as `VmRSS:  11052 kB`.
pub(super) fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn cpus(cpuinfo: &str) -> (String, usize) {
    let values = |name: &'static str| {
        cpuinfo.lines().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let model = values("model name").next().unwrap_or_else(|| "an unnamed processor".to_owned());
    (model, values("processor").count())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_and_named() {
        let text =
            "processor\t: 0\nmodel name\t: Fast One\n\nprocessor\t: 1\nmodel name\t: Fast One\n";
        assert_eq!(cpus(text), ("Fast One".to_owned(), 2));
    }

    #[test]
    fn a_size_is_found_by_its_whole_name() {
        let text = "VmRSSAnon:\t1 kB\nVmRSS:\t   11052 kB\nThreads:\t3\n";
        assert_eq!(kib(text, "VmRSS"), Some(11052));
        assert_eq!(kib(text, "Threads"), None);
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let machine = Machine::read().unwrap();
        assert!(machine.processors > 0 && machine.memory_mib > 0, "{machine}");
    }
}
