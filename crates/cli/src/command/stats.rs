//! `banger vm stats`: what VMs use, once or for as long as somebody watches.

use super::Session;
use super::several::{Report, ask, document_line, tell_all};
use super::signals::Signals;
use crate::args::StatsArgs;
use crate::failure::Failure;
use crate::output::Format;
use crate::render::stats::{frame, live, table};
use banger_api::client::{Client, ClientError};
use banger_api::{ErrorBody, VmStats};
use banger_core::error::ErrorCode;
use rustix::termios::tcgetwinsize;
use std::io::IsTerminal;
use std::time::Duration;

/// How long one look is shown, beside the half second that the next one takes.
const PAUSE: Duration = Duration::from_millis(1500);
/// The size of a terminal that does not tell its own.
const USUAL: (u16, u16) = (80, 24);
/// What an answer is called in a document.
const KEY: &str = "stats";

pub(super) async fn run(session: &Session<'_>, args: &StatsArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    let reports = look(&client, &args.refs).await?;
    let is_over = !reports.is_empty() && reports.iter().all(|report| report.answer().is_err());
    if args.watch && !is_over {
        return watch(session, &client, &args.refs, reports).await;
    }
    if reports.is_empty() && session.output.format() == Format::Text {
        session.output.note("there is no VM; `banger vm create` makes one");
        return Ok(());
    }
    tell_all(session.output, KEY, &reports, |stats| table(stats))
}

/// What the VMs use now; those that were named, or all that there are.
async fn look(client: &Client, refs: &[String]) -> Result<Vec<Report<VmStats>>, ClientError> {
    let all: Vec<String> = match refs {
        [] => client.vms().await?.vms.into_iter().map(|vm| vm.name.to_string()).collect(),
        refs => refs.to_vec(),
    };
    let mut reports = ask(&all, async |reference| client.stats(&reference).await).await;
    if refs.is_empty() {
        // One that is deleted between the two questions is not missed.
        let is_gone = |body: &ErrorBody| body.code == ErrorCode::VmNotFound;
        reports.retain(|report| !report.answer().is_err_and(is_gone));
    }
    Ok(reports)
}

/// Looks again and again, until this process is told to end.
async fn watch(
    session: &Session<'_>,
    client: &Client,
    refs: &[String],
    first: Vec<Report<VmStats>>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::new(session);
    let watching = async {
        let mut looked = Ok(first);
        loop {
            screen.show(&looked)?;
            tokio::time::sleep(PAUSE).await;
            looked = look(client, refs).await;
        }
    };
    let signal = tokio::select! {
        ended = watching => return ended,
        signal = signals.next() => signal,
    };
    screen.leave()?;
    Err(Failure::Exit(signal.exit_code()))
}

/// Where looks are shown. Nothing of a terminal's state is changed, so that nothing of it has to be
/// put right, however the watching ends.
struct Screen<'a> {
    session: &'a Session<'a>,
    kind: Kind,
}

enum Kind {
    /// Each look takes the place of the one before, which had this many lines.
    Terminal { lines: usize },
    /// Each look follows the one before.
    Stream { is_first: bool },
}

impl<'a> Screen<'a> {
    fn new(session: &'a Session<'a>) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_text = session.output.format() == Format::Text;
        let kind = if is_text && std::io::stdout().is_terminal() && !is_dumb {
            Kind::Terminal { lines: 0 }
        } else {
            Kind::Stream { is_first: true }
        };
        Self { session, kind }
    }

    fn show(&mut self, looked: &Result<Vec<Report<VmStats>>, ClientError>) -> Result<(), Failure> {
        let reports = looked.as_deref().unwrap_or_default();
        let good = || reports.iter().filter_map(|report| report.answer().ok());
        let bad = reports.iter().filter_map(|report| report.answer().err());
        let mut amiss: Vec<String> = bad.map(|body| body.message.clone()).collect();
        amiss.extend(looked.as_ref().err().map(ToString::to_string));
        let output = self.session.output;
        match &mut self.kind {
            Kind::Terminal { lines } => {
                let (columns, rows) = size();
                let now = live(good(), &amiss, columns, rows);
                let shown = frame(*lines, &now);
                *lines = now.len();
                // As it is, since it moves the cursor even where colours are not wanted.
                output.bytes(shown.as_bytes())
            }
            Kind::Stream { .. } if output.format() == Format::Json => {
                output.text(&document_line(KEY, reports))
            }
            Kind::Stream { is_first } => {
                let gap = if std::mem::take(is_first) { "" } else { "\n" };
                let amiss: String = amiss.iter().map(|line| format!("{line}\n")).collect();
                output.text(&format!("{gap}{}{amiss}", table(&mut good())))
            }
        }
    }

    /// Removes what the terminal itself writes when Ctrl-C is pressed.
    fn leave(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Terminal { .. } => self.session.output.bytes(b"\r\x1b[K"),
            Kind::Stream { .. } => Ok(()),
        }
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let told = tcgetwinsize(std::io::stdout()).map(|size| (size.ws_col, size.ws_row));
    let (columns, rows) = told.ok().filter(|size| size.0 > 0 && size.1 > 0).unwrap_or(USUAL);
    (columns.into(), rows.into())
}
