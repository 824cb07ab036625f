//! What became of each step, as a table.

use std::fmt::Write;
use std::process::ExitCode;

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is well.
    Passed,
    /// It is not; with the reason in one line.
    Failed(String),
    /// All tests of a level ran.
    Tests {
        /// How many passed.
        passed: u32,
        /// How many failed.
        failed: u32,
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
                Outcome::Tests { passed, failed: 0, trouble: None } => {
                    format!("{passed} passed, 0 failed")
                }
                Outcome::Tests { passed, failed, trouble } => {
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
            Self::Tests { failed, trouble, .. } => *failed > 0 || trouble.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_says_plainly_what_happened() {
        let mut report = Report::default();
        report.add("formatting", Outcome::Passed);
        report.add("unit", Outcome::Tests { passed: 12, failed: 0, trouble: None });
        report.add("host", Outcome::CannotRun("no root".to_owned()));
        let expected = "  formatting  passed\n  unit        12 passed, 0 failed\n  \
                        host        NOT RUN on this machine: no root\n";
        assert_eq!(report.render(), expected);
        assert_eq!(format!("{:?}", report.exit_code()), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn tests_that_pass_and_leave_something_are_a_failure() {
        let mut report = Report::default();
        let trouble = Some("a TAP is left".to_owned());
        report.add("e2e", Outcome::Tests { passed: 3, failed: 0, trouble });
        assert_eq!(report.render(), "  e2e  3 passed, 0 failed  FAILED: a TAP is left\n");
        assert_eq!(format!("{:?}", report.exit_code()), format!("{:?}", ExitCode::FAILURE));
    }
}
