//! A live line for the phase that an operation is in, on a terminal; notes everywhere.

use crate::args::Timings;
use crate::output::{Format, Output};
use crate::render;
use banger_api::Event;
use banger_core::unit::Bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// How often a live line moves.
const TICK: Duration = Duration::from_millis(100);

/// The live lines of one command.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    output: &'a Output,
    /// Absent where standard error is no terminal.
    lines: Option<MultiProgress>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = std::io::stderr().is_terminal() && !dumb;
        Self { output, lines: live.then(MultiProgress::new) }
    }

    /// Follows an operation that is the only one: its phases stay to be read, unless they are
    /// listed at the end anyway.
    pub(crate) fn only(&self, timings: Timings) -> Tracker<'_> {
        let past = if timings == Timings::Listed { Past::Goes } else { Past::Stays };
        Tracker { progress: self, subject: None, past, current: None }
    }

    /// Follows one operation of several: it has one line.
    pub(crate) fn one_of_several(&self, subject: &str) -> Tracker<'_> {
        let subject = Some(subject.to_owned());
        Tracker { progress: self, subject, past: Past::Goes, current: None }
    }

    /// Says something above the live lines.
    pub(crate) fn say(&self, text: &str) {
        match &self.lines {
            Some(lines) => lines.suspend(|| self.output.aside(text)),
            None => self.output.aside(text),
        }
    }

    /// Says something that is of use only to somebody who watches.
    pub(crate) fn say_live(&self, text: &str) {
        if self.lines.is_some() {
            self.say(text);
        }
    }
}

/// What becomes of the line of a phase that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    Stays,
    Goes,
}

/// Shows one operation.
#[derive(Debug)]
pub(crate) struct Tracker<'a> {
    progress: &'a Progress<'a>,
    subject: Option<String>,
    past: Past,
    current: Option<ProgressBar>,
}

impl Tracker<'_> {
    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Begin { phase } => self.begin(phase),
            Event::End { phase, elapsed_ms } => {
                self.clear();
                if self.past == Past::Stays {
                    self.progress.say_live(&render::vm::phase(phase, *elapsed_ms));
                }
            }
            Event::Amount { done, total } => self.amount(*done, *total),
            Event::Note { message } => self.note(message),
            Event::Line { text } => self.progress.say_live(text),
            Event::Done { .. } | Event::Failed { .. } => self.clear(),
            Event::Accepted { .. } | Event::Enterable { .. } | Event::GuestEnded { .. } => {}
        }
    }

    fn begin(&mut self, phase: &str) {
        self.clear();
        let Some(lines) = &self.progress.lines else { return };
        let template = "{spinner} {wide_msg} {prefix} {elapsed}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let message = match &self.subject {
            Some(subject) => format!("{subject}: {phase}"),
            None => phase.to_owned(),
        };
        let line = lines.add(ProgressBar::new_spinner().with_style(style));
        line.set_message(message);
        line.enable_steady_tick(TICK);
        self.current = Some(line);
    }

    /// Puts the amount behind the phase's name, in its live line.
    fn amount(&self, done: u64, total: Option<u64>) {
        if let Some(line) = &self.current {
            let done = Bytes(done);
            let amount = match total {
                Some(total) => format!("{done} of {}", Bytes(total)),
                None => done.to_string(),
            };
            line.set_prefix(format!("({amount})"));
        }
    }

    fn note(&self, message: &str) {
        // A document carries its notes itself.
        if self.progress.output.format() == Format::Text {
            let text = match &self.subject {
                Some(subject) => format!("{subject}: {message}"),
                None => message.to_owned(),
            };
            self.progress.say(&render::error::note(&text));
        }
    }

    fn clear(&mut self) {
        if let Some(line) = self.current.take() {
            line.finish_and_clear();
        }
    }
}

impl Drop for Tracker<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
