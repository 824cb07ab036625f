//! What the engine counts and times, for the daemon's metrics.
//!
//! Every label has one of a few words that are known here, so that the number of series does not
//! grow with use.

use crate::errand::Errand;
use crate::operation::Phase;
use banger_core::resource::Role;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// The borders of the histograms in seconds: a resource takes milliseconds, a boot under software
/// emulation half a minute.
const BORDERS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0];

/// Labels with their values.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Everything that is counted and timed. Clones are the same counts.
#[derive(Debug, Clone)]
pub struct Measures {
    /// How long each phase of a start or stop took that went well, by `phase`.
    pub phases: Family<Labels<1>, Histogram, fn() -> Histogram>,
    /// What the host refused, by `verb` (`ensure` or `remove`) and the resource's `role`.
    pub host_errors: Family<Labels<2>, Counter>,
    /// Operations that have ended, by `operation` and `result` (`done` or `failed`).
    pub operations: Family<Labels<2>, Counter>,
    /// VMs that have ended without being asked to.
    pub ended_by_themselves: Counter,
}

impl Default for Measures {
    /// Nothing has happened, and all series are there: one that comes with its first event has no
    /// rate for it.
    fn default() -> Self {
        let measures = Self {
            phases: Family::new_with_constructor(|| Histogram::new(BORDERS)),
            host_errors: Family::default(),
            operations: Family::default(),
            ended_by_themselves: Counter::default(),
        };
        for word in Phase::MEASURED.iter().filter_map(Phase::word) {
            drop(measures.phases.get_or_create(&[("phase", word)]));
        }
        for role in Role::ALL {
            for verb in ["ensure", "remove"] {
                drop(measures.host_errors.get_or_create(&host_error(verb, role)));
            }
        }
        for what in Errand::ALL {
            for result in ["done", "failed"] {
                drop(measures.operations.get_or_create(&operation(what, result)));
            }
        }
        measures
    }
}

impl Measures {
    /// A phase has ended well. What is no part of a start or stop is not measured.
    pub(crate) fn phase(&self, phase: &Phase, took: Duration) {
        if let Some(word) = phase.word() {
            self.phases.get_or_create(&[("phase", word)]).observe(took.as_secs_f64());
        }
    }

    /// The host has refused.
    pub(crate) fn host_error(&self, verb: &'static str, role: Role) {
        self.host_errors.get_or_create(&host_error(verb, role)).inc();
    }

    /// An operation has ended: `done` or `failed`.
    pub(crate) fn operation(&self, what: Errand, result: &'static str) {
        self.operations.get_or_create(&operation(what, result)).inc();
    }
}

fn host_error(verb: &'static str, role: Role) -> Labels<2> {
    [("verb", verb), ("role", role.as_str())]
}

fn operation(what: Errand, result: &'static str) -> Labels<2> {
    [("operation", what.as_str()), ("result", result)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Registry;

    fn shown(measures: &Measures) -> String {
        let mut registry = Registry::default();
        registry.register("phase", "Phases", measures.phases.clone());
        registry.register("error", "Errors", measures.host_errors.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn every_series_is_there_before_anything_has_happened() {
        let measures = Measures::default();
        let text = shown(&measures);
        assert!(text.contains("error_total{verb=\"remove\",role=\"vmm\"} 0\n"), "{text}");
        assert_eq!(text.matches("_count{").count(), Phase::MEASURED.len());
        measures.phase(&Phase::Boot, Duration::from_millis(30));
        measures.phase(&Phase::Build("unpack".to_owned()), Duration::from_secs(1));
        measures.host_error("ensure", Role::Tap);
        let after = shown(&measures);
        assert_eq!(after.lines().count(), text.lines().count(), "no series came with an event");
        assert!(after.contains("phase_bucket{phase=\"boot\",le=\"0.05\"} 1\n"), "{after}");
        assert!(after.contains("error_total{verb=\"ensure\",role=\"tap\"} 1\n"), "{after}");
    }
}
