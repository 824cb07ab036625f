//! What became of each step, as a table.

use std::fmt::Write;
use std::process::ExitCode;

/// How many tests there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u32,
    pub(super) failed: u32,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is well.
    Passed,
    /// It is not; with the reason in one line.
    Failed(String),
    /// All tests of a level ran.
    Tests {
        counts: Counts,
        /// What is wrong beside failed tests.
        trouble: Option<String>,
    },
    /// This machine cannot run it; with the reason.
    CannotRun(String),
}

/// What became of each step, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// Notes a step.
    pub(super) fn add(&mut self, step: &'static str, outcome: Outcome) {
        self.rows.push((step, outcome));
    }

    /// The table.
    pub(super) fn render(&self) -> String {
        let width = self.rows.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (step, outcome) in &self.rows {
            let said = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed(reason) => {
                    format!("FAILED: {}", reason.lines().next().unwrap_or_default())
                }
                Outcome::Tests { counts: Counts { passed, failed: 0 }, trouble: None } => {
                    format!("{passed} passed, 0 failed")
                }
                Outcome::Tests { counts: Counts { passed, failed }, trouble } => {
                    let trouble = trouble.as_ref().filter(|_| *failed == 0);
                    let trouble = trouble.map(|text| format!(": {text}")).unwrap_or_default();
                    format!("{passed} passed, {failed} failed  FAILED{trouble}")
                }
                Outcome::CannotRun(reason) => format!("NOT RUN on this machine: {reason}"),
            };
            writeln!(text, "  {step:width$}  {said}").expect("writing to a string does not fail");
        }
        text
    }

    /// Failure if anything failed. What the machine cannot run does not count: it is said.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.rows.iter().any(|(_, outcome)| outcome.is_failure()) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

impl Outcome {
    fn is_failure(&self) -> bool {
        match self {
            Self::Passed | Self::CannotRun(_) => false,
            Self::Failed(_) => true,
            Self::Tests { counts, trouble } => counts.failed > 0 || trouble.is_some(),
        }
    }
}

/// What became of the runs of a level, given what is wrong with all of them together. Where tests
/// failed, that is what is wrong.
pub(super) fn of_tests(runs: &[Option<Counts>], trouble: Option<&str>) -> Vec<Outcome> {
    let is_explained = runs.iter().flatten().any(|counts| counts.failed > 0);
    let beside = trouble.filter(|_| !is_explained);
    let outcome = |run: &Option<Counts>| match (*run, trouble) {
        (Some(counts), _) => Outcome::Tests { counts, trouble: beside.map(str::to_owned) },
        (None, Some(reason)) => Outcome::Failed(reason.to_owned()),
        // Without any test nextest writes no results.
        (None, None) => Outcome::Tests { counts: Counts::default(), trouble: None },
    };
    runs.iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(passed: u32, failed: u32, trouble: Option<&str>) -> Outcome {
        let counts = Counts { passed, failed };
        Outcome::Tests { counts, trouble: trouble.map(str::to_owned) }
    }

    #[test]
    fn a_run_that_is_well_does_not_answer_for_another() {
        let (good, bad) = (Counts { passed: 3, failed: 0 }, Counts { passed: 1, failed: 2 });
        let rows = of_tests(&[Some(bad), Some(good)], Some("it failed"));
        assert_eq!(rows, [tests(1, 2, None), tests(3, 0, None)]);
        let rows = of_tests(&[Some(good), None], Some("it failed"));
        assert_eq!(rows, [tests(3, 0, Some("it failed")), Outcome::Failed("it failed".to_owned())]);
        assert_eq!(of_tests(&[None], None), [tests(0, 0, None)]);
    }

    #[test]
    fn each_row_says_plainly_what_happened() {
        let mut report = Report::default();
        report.add("formatting", Outcome::Passed);
        report.add("unit", tests(12, 0, None));
        report.add("host", Outcome::CannotRun("no root".to_owned()));
        let expected = "  formatting  passed\n  unit        12 passed, 0 failed\n  \
                        host        NOT RUN on this machine: no root\n";
        assert_eq!(report.render(), expected);
        assert_eq!(format!("{:?}", report.exit_code()), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn tests_that_pass_and_leave_something_are_a_failure() {
        let mut report = Report::default();
        report.add("e2e", tests(3, 0, Some("a TAP is left")));
        assert_eq!(report.render(), "  e2e  3 passed, 0 failed  FAILED: a TAP is left\n");
        assert_eq!(format!("{:?}", report.exit_code()), format!("{:?}", ExitCode::FAILURE));
    }
}
