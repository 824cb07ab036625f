//! The one place that writes: answers to standard output, everything else to standard error.
//!
//! Colours go to a terminal only, and not where `NO_COLOR` is set.

use crate::failure::Failure;
use crate::render;
use banger_api::ErrorBody;
use serde::Serialize;
use std::io::{self, Write};

/// The exit code of a command line that is wrong.
pub(crate) const EXIT_USAGE: u8 = 2;

/// What answers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text for people.
    Text,
    /// One JSON document.
    Json,
}

/// Where a command writes.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
}

/// An error as the whole answer of a command.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: &'a ErrorBody,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Answers with a document, or with its text.
    pub(crate) fn answer<T: Serialize>(
        &self,
        document: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.text(&text(document)),
            Format::Json => self.text(&render_json(document)),
        }
    }

    /// Answers with a text that ends its own lines.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }

    /// Passes bytes on as they are, escape sequences and all.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }

    /// Says something beside the answer.
    pub(crate) fn aside(&self, text: &str) {
        let mut stderr = anstream::stderr().lock();
        if writeln!(stderr, "{text}").is_err() {
            // Nobody listens; what was asked for is done all the same.
        }
    }

    /// Says something worth knowing that is no failure.
    pub(crate) fn note(&self, message: &str) {
        self.aside(&render::error::note(message));
    }

    /// Tells an error to a person. `of` is what it concerns, where there are several.
    pub(crate) fn error(&self, of: Option<&str>, body: &ErrorBody) {
        self.aside(render::error::error(of, body).trim_end());
    }

    /// Tells the error that is the whole answer of a command.
    fn tell(&self, body: &ErrorBody) {
        let told = match self.format {
            Format::Text => false,
            Format::Json => self.text(&render_json(&ErrorDocument { error: body })).is_ok(),
        };
        if !told {
            self.error(None, body);
        }
    }

    /// Tells why a command failed, and gives its exit code.
    pub(crate) fn report(&self, failure: Failure) -> u8 {
        match failure {
            Failure::Error(body) => {
                self.tell(&body);
                body.code.exit_code()
            }
            Failure::Usage(body) => {
                self.tell(&body);
                EXIT_USAGE
            }
            Failure::Exit(code) => code,
            // The reader has seen enough, as in `banger vm list | head -1`.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(error) => {
                self.aside(&format!("error: standard output cannot be written: {error}"));
                1
            }
        }
    }
}

fn render_json<T: Serialize>(document: &T) -> String {
    serde_json::to_string_pretty(document).expect("an answer is plain data") + "\n"
}
