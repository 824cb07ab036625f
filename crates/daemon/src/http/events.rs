//! Operations as answers: a stream of events, or an error when it failed before it began.

use crate::problem::{self, Problem};
use crate::view;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use banger_api::Event;
use banger_core::id::OpId;
use banger_engine::{EngineError, Operation, OperationError, Progress};
use futures_util::stream::{self, StreamExt};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// How long the first report may take to decide between an error status and a stream. A refusal
/// comes at once; an operation that has to wait for another is answered with a stream by then.
const FIRST_REPORT: Duration = Duration::from_millis(300);

/// The media type of a stream of events.
const NDJSON: &str = "application/x-ndjson";

/// Answers with an operation's events. An operation that fails before it reports anything else is
/// answered with that error and its status.
pub(super) async fn answer(operation: Operation) -> Response {
    answer_noting(Vec::new(), operation).await
}

/// The same with notes that come first, and that stand in the outcome too.
pub(super) async fn answer_noting(notes: Vec<String>, operation: Operation) -> Response {
    let Operation { id, mut progress } = operation;
    tracing::debug!(op_id = %id, "operation accepted");
    let first = match timeout(FIRST_REPORT, progress.recv()).await {
        Ok(Some(Progress::Failed(error))) => return Problem::from(&*error).into_response(),
        Ok(Some(report)) => Some(event(&id, &notes, report)),
        Ok(None) => return broken_off(&id).into_response(),
        Err(_elapsed) => None,
    };
    let noted = notes.clone().into_iter().map(|message| Event::Note { message });
    let head = [Event::Accepted { op_id: id.clone() }].into_iter().chain(noted).chain(first);
    // What was reported first may be the last event already.
    let ended = head.clone().last().is_some_and(|event| is_last(&event));
    let rest = Rest { id, notes, progress: (!ended).then_some(progress) };
    let events = stream::iter(head).chain(stream::unfold(rest, Rest::next));
    let lines = events.map(|event| Ok::<_, Infallible>(line(&event)));
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

/// The part of a stream that is still to come.
struct Rest {
    id: OpId,
    /// What was noted before the operation began.
    notes: Vec<String>,
    /// `None` when the last event was sent.
    progress: Option<UnboundedReceiver<Progress>>,
}

impl Rest {
    async fn next(mut self) -> Option<(Event, Self)> {
        let event = match self.progress.as_mut()?.recv().await {
            Some(report) => event(&self.id, &self.notes, report),
            None => Event::Failed { error: Box::new(broken_off(&self.id).body) },
        };
        if is_last(&event) {
            self.progress = None;
        }
        Some((event, self))
    }
}

/// The operation's task went away without an end: the daemon is ending.
fn broken_off(id: &OpId) -> Problem {
    let (error, left) = (EngineError::ShuttingDown, Vec::new());
    let error = OperationError { op_id: id.clone(), error, left };
    Problem::from(&error)
}

fn is_last(event: &Event) -> bool {
    matches!(event, Event::Done { .. } | Event::Failed { .. })
}

fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("an event has string keys only");
    line.push(b'\n');
    line.into()
}

fn event(id: &OpId, notes: &[String], report: Progress) -> Event {
    match report {
        Progress::Begin(phase) => Event::Begin { phase: phase.to_string() },
        Progress::End(phase, elapsed) => {
            Event::End { phase: phase.to_string(), elapsed_ms: view::millis(elapsed) }
        }
        Progress::Amount { done, total } => Event::Amount { done, total },
        Progress::Note(message) => Event::Note { message },
        Progress::Line(line) => Event::Line { text: line.into_text() },
        Progress::Enterable(vm) => Event::Enterable { vm },
        Progress::GuestEnded(vm) => Event::GuestEnded { vm },
        Progress::Done(mut outcome) => {
            outcome.notes.splice(..0, notes.iter().cloned());
            Event::Done { outcome: Box::new(view::outcome(id.clone(), *outcome)) }
        }
        Progress::Failed(error) => {
            Event::Failed { error: Box::new(problem::describe_operation(&error)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use banger_engine::{Outcome, Phase};
    use tokio::sync::mpsc;

    fn operation() -> (mpsc::UnboundedSender<Progress>, Operation) {
        let (sender, progress) = mpsc::unbounded_channel();
        (sender, Operation { id: OpId::from_entropy(1), progress })
    }

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn done() -> Progress {
        Progress::Done(Box::new(Outcome {
            vm: None,
            changed: true,
            timings: Vec::new(),
            notes: Vec::new(),
        }))
    }

    #[tokio::test]
    async fn a_stream_begins_with_accepted_and_ends_with_done() {
        let (sender, operation) = operation();
        for report in [
            Progress::Begin(Phase::Boot),
            Progress::End(Phase::Boot, Duration::from_millis(7)),
            Progress::Note("slow".to_owned()),
            done(),
        ] {
            sender.send(report).unwrap();
        }
        let response = answer(operation).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], NDJSON);
        insta::assert_snapshot!(text(response).await, @r#"
        {"event":"accepted","op_id":"0000000001"}
        {"event":"begin","phase":"configure the machine"}
        {"event":"end","phase":"configure the machine","elapsed_ms":7}
        {"event":"note","message":"slow"}
        {"event":"done","outcome":{"op_id":"0000000001","changed":true,"timings":[],"notes":[]}}
        "#);
    }

    #[tokio::test]
    async fn notes_come_first_and_stand_in_the_outcome() {
        let (sender, operation) = operation();
        sender.send(done()).unwrap();
        let response = answer_noting(vec!["little room".to_owned()], operation).await;
        insta::assert_snapshot!(text(response).await, @r#"
        {"event":"accepted","op_id":"0000000001"}
        {"event":"note","message":"little room"}
        {"event":"done","outcome":{"op_id":"0000000001","changed":true,"timings":[],"notes":["little room"]}}
        "#);
    }

    #[tokio::test]
    async fn an_operation_that_ends_at_once_has_two_events() {
        let (sender, operation) = operation();
        sender.send(done()).unwrap();
        let text = text(answer(operation).await).await;
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[tokio::test]
    async fn a_failure_before_anything_else_is_an_error_status() {
        let (sender, operation) = operation();
        let error = EngineError::NameTaken { name: "otter".parse().unwrap() };
        let op_id = operation.id.clone();
        sender
            .send(Progress::Failed(Box::new(OperationError { op_id, error, left: Vec::new() })))
            .unwrap();
        let response = answer(operation).await;
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert!(text(response).await.contains("\"name_taken\""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_comes_late_is_the_last_event() {
        let (sender, operation) = operation();
        let op_id = operation.id.clone();
        let response = answer(operation).await;
        assert_eq!(response.status(), StatusCode::OK);
        let error = EngineError::NameTaken { name: "otter".parse().unwrap() };
        sender
            .send(Progress::Failed(Box::new(OperationError { op_id, error, left: Vec::new() })))
            .unwrap();
        let text = text(response).await;
        let events: Vec<&str> = text.lines().collect();
        assert!(events[0].contains("accepted") && events[1].contains("failed"), "{text}");
        assert_eq!(events.len(), 2);
    }

    #[tokio::test]
    async fn an_operation_that_breaks_off_says_that_the_daemon_ends() {
        let (sender, operation) = operation();
        sender.send(Progress::Begin(Phase::Boot)).unwrap();
        drop(sender);
        let text = text(answer(operation).await).await;
        assert!(text.lines().last().unwrap().contains("the daemon is shutting down"), "{text}");
    }
}
