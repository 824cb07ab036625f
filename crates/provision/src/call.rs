//! A program to be run in a guest.

use crate::error::UploadError;
use crate::quote::quote;
use crate::upload::Feed;
use std::fmt;
use std::time::Duration;

/// Where a guest's programs are looked for.
pub const GUEST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a program may take unless [`Call::limit`] says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// A program with its arguments. It finds a clean environment: `PATH`, `HOME`, `LANG`, `LC_ALL` and
/// what [`Call::env`] adds.
#[derive(Debug)]
pub struct Call {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) limit: Duration,
}

/// What a program reads.
pub(crate) enum Input {
    /// Nothing.
    Empty,
    /// A stream that is made while it reads.
    Feed(Feed),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Feed(_) => "Feed",
        })
    }
}

/// What becomes of a program's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// It goes to the sink line by line, as what comes from standard error always does.
    Lines,
    /// It is kept for the caller.
    Kept,
}

impl Call {
    /// A program by name or by path, with its arguments.
    pub fn new<I: IntoIterator<Item: Into<String>>>(argv: I) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            input: Input::Empty,
            output: Output::Lines,
            limit: LIMIT,
        }
    }

    /// Sets a variable in its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Keeps its standard output for the caller.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.output = Output::Kept;
        self
    }

    /// Limits how long it may take.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Reads to its end what the program would read; returns how many bytes that is. For a guest that
    /// is only simulated.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub async fn drain(self) -> Result<u64, UploadError> {
        let Input::Feed(Feed { mut pieces }) = self.input else { return Ok(0) };
        let mut length = 0;
        while let Some(piece) = pieces.recv().await {
            length += piece?.len() as u64;
        }
        Ok(length)
    }

    pub(crate) fn feed(mut self, feed: Feed) -> Self {
        self.input = Input::Feed(feed);
        self
    }

    /// The program and its arguments.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The call as a line for people.
    pub fn shown(&self) -> String {
        quote(self.argv.iter().map(String::as_str))
    }

    /// The line for the guest's shell. `env -i` has the program find nothing of the login's.
    pub(crate) fn line(&self, path: &str) -> String {
        let fixed = [("PATH", path), ("HOME", "/root"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];
        let own = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let variables: Vec<String> =
            fixed.into_iter().chain(own).map(|(key, value)| format!("{key}={value}")).collect();
        let words = ["env", "-i"].into_iter().chain(variables.iter().map(String::as_str));
        quote(words.chain(self.argv.iter().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_finds_a_clean_environment_and_its_own_variables() {
        let call =
            Call::new(["apt-get", "install", "a b"]).env("DEBIAN_FRONTEND", "noninteractive");
        assert_eq!(
            call.line("/bin"),
            "env -i PATH=/bin HOME=/root LANG=C.UTF-8 LC_ALL=C.UTF-8 \
             DEBIAN_FRONTEND=noninteractive apt-get install 'a b'"
        );
        assert_eq!(call.shown(), "apt-get install 'a b'");
    }
}
