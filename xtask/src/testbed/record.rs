//! What the keeper of a host says of it.

use super::machine::Acceleration;
use super::place::Disks;
use super::process::Process;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// It boots, perhaps again.
    Booting,
    /// It has all that it is for.
    Up,
    /// It did not come up in several boots, and none will be tried.
    Failed,
}

/// Why the host was started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restart {
    /// The boot that this ended.
    pub(super) boot: u32,
    pub(super) why: String,
}

/// The keeper's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The keeper, in whose network the host is.
    pub(super) keeper: Process,
    /// The host, if it runs.
    pub(super) qemu: Option<Process>,
    pub(super) disks: Disks,
    pub(super) acceleration: Acceleration,
    pub(super) phase: Phase,
    /// The number of this boot; the first is 1.
    pub(super) boot: u32,
    /// Since when it is in this phase, in seconds since 1970.
    pub(super) since: u64,
    /// How long this boot took, in milliseconds; while it boots, how long the last one did.
    pub(super) took: u64,
    pub(super) restarts: Vec<Restart>,
}

impl Record {
    /// Enters a phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = now();
    }

    /// For people.
    pub(super) fn render(&self) -> String {
        let for_s = now().saturating_sub(self.since);
        let first = match self.phase {
            Phase::Booting => format!("the host boots, for {for_s} s now"),
            Phase::Up => {
                let took = Duration::from_millis(self.took).as_secs_f64();
                format!("the host is up, for {for_s} s now; its boot took {took:.1} s")
            }
            Phase::Failed => "the host did not come up".to_owned(),
        };
        let mut text = format!("{first}\n  runs on  {}\n", self.acceleration.words());
        for restart in &self.restarts {
            text += &format!("  restart  boot {} ended: {}\n", restart.boot, restart.why);
        }
        text
    }

    #[cfg(test)]
    pub(super) fn sample() -> Self {
        let keeper = Process::of(rustix::process::getpid()).unwrap();
        Self {
            keeper,
            qemu: None,
            disks: Disks { host: "/host".into(), bundle: "/bundle".into() },
            acceleration: Acceleration::Emulation,
            phase: Phase::Booting,
            boot: 1,
            since: now(),
            took: 0,
            restarts: Vec::new(),
        }
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_said() {
        let mut record = Record::sample();
        record.restarts.push(Restart { boot: 1, why: "it was frozen".to_owned() });
        record.enter(Phase::Up);
        let text = record.render();
        assert!(text.starts_with("the host is up"), "{text}");
        assert!(text.contains("boot 1 ended: it was frozen"), "{text}");
    }
}
