//! What a command came to, and what tests ask of that.

use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// A command that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    pub(super) shown: String,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) took: Duration,
}

impl Transcript {
    /// It succeeded; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        self.code(0).stdout()
    }

    /// It ended with this code.
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "the exit code of:\n{self}");
        self
    }

    /// Its standard error has this text.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "`{text}` is not in the standard error of:\n{self}");
        self
    }

    /// Its standard output has this text.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "`{text}` is not in the standard output of:\n{self}");
        self
    }

    /// It is refused as an error of the user's own making, in the house's form.
    #[track_caller]
    pub(crate) fn refused(&self, message: &str) -> &Self {
        let refused = self.code(1).says(&format!("error: {message}"));
        assert!(self.stderr.contains("\nhint: "), "there is no hint in:\n{self}");
        refused
    }

    /// What it wrote to its standard output.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    /// What it wrote to its standard error.
    pub(crate) fn stderr(&self) -> &str {
        &self.stderr
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("the standard output is no JSON ({error}):\n{self}"),
        }
    }

    /// Leaves a line in the test's own output, which is shown when the test fails.
    pub(super) fn note(&self) {
        let Self { shown, took, .. } = self;
        eprintln!("{:>7.1} s  {shown} -> {}", took.as_secs_f64(), self.end());
    }

    fn end(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown end".to_owned(),
        }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shown, stdout, stderr, .. } = self;
        write!(f, "$ {shown}\n{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---", self.end())
    }
}
