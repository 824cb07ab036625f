//! Answers that come bit by bit: the events of an operation, and logs.

use super::error::ClientError;
use super::transport::Pump;
use crate::{Event, Outcome};
use banger_core::id::OpId;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};

/// No event is longer than this, in bytes; a line that does not end is not ours.
const LONGEST_EVENT: usize = 4 << 20;

/// A body that is being received, with the task that receives it.
#[derive(Debug)]
pub(super) struct Body {
    incoming: Incoming,
    _pump: Pump,
}

impl Body {
    pub(super) fn new(incoming: Incoming, pump: Pump) -> Self {
        Self { incoming, _pump: pump }
    }

    /// The next bytes, or `None` at the body's proper end.
    async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            match self.incoming.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                // A frame that is no data is a trailer.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailer) => {}
                },
            }
        }
    }
}

/// The events of an operation.
///
/// The operation goes on in the daemon when this is dropped. Only an import is broken off then, and a
/// build in which its user works by hand, until it is told to save.
#[derive(Debug)]
pub struct EventStream {
    request: String,
    body: Body,
    lines: Lines,
    op_id: Option<OpId>,
    ended: bool,
}

impl EventStream {
    pub(super) fn new(request: String, body: Body) -> Self {
        Self { request, body, lines: Lines::default(), op_id: None, ended: false }
    }

    /// The operation's id, once it was accepted.
    pub fn op_id(&self) -> Option<&OpId> {
        self.op_id.as_ref()
    }

    /// The next event; `None` after `done` or `failed`.
    ///
    /// # Errors
    ///
    /// A stream that ends before one of these is broken off. Nothing comes after an error.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let event = self.receive().await;
        self.ended = match &event {
            Ok(Event::Accepted { op_id }) => {
                self.op_id = Some(op_id.clone());
                false
            }
            Ok(Event::Done { .. } | Event::Failed { .. }) | Err(_) => true,
            Ok(_) => false,
        };
        event.map(Some)
    }

    /// Reads to the end, and shows each event on the way.
    pub async fn finish(mut self, mut show: impl FnMut(&Event)) -> Result<Outcome, ClientError> {
        while let Some(event) = self.next().await? {
            show(&event);
            match event {
                Event::Done { outcome } => return Ok(*outcome),
                Event::Failed { error } => return Err(ClientError::Api(error)),
                Event::Accepted { .. }
                | Event::Begin { .. }
                | Event::End { .. }
                | Event::Amount { .. }
                | Event::Note { .. }
                | Event::Line { .. }
                | Event::Enterable { .. }
                | Event::GuestEnded { .. } => {}
            }
        }
        Err(ClientError::BrokenOff { op_id: self.op_id, source: None })
    }

    async fn receive(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(line) = self.lines.take() {
                return serde_json::from_slice(&line)
                    .map_err(|source| self.not_understood("a line is not an event", Some(source)));
            }
            if self.lines.waiting() > LONGEST_EVENT {
                return Err(self.not_understood("a line does not end", None));
            }
            let broken_off = |source| ClientError::BrokenOff { op_id: self.op_id.clone(), source };
            match self.body.next().await {
                Ok(Some(bytes)) => self.lines.push(&bytes),
                Ok(None) => return Err(broken_off(None)),
                Err(error) => return Err(broken_off(Some(error))),
            }
        }
    }

    fn not_understood(&self, what: &str, source: Option<serde_json::Error>) -> ClientError {
        ClientError::Protocol { request: self.request.clone(), what: what.to_owned(), source }
    }
}

/// A log, as bytes: a guest's console holds whatever the guest wrote.
#[derive(Debug)]
pub struct LogStream {
    body: Body,
}

impl LogStream {
    pub(super) fn new(body: Body) -> Self {
        Self { body }
    }

    /// The next bytes, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let broken = |source| ClientError::BrokenOff { op_id: None, source: Some(source) };
        self.body.next().await.map_err(broken)
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    /// How much of the buffer is known to have no line feed.
    searched: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The first whole line, without its line feed. Blank lines keep a connection alive and say
    /// nothing.
    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(offset) = found else {
                self.searched = self.buffer.len();
                return None;
            };
            let end = self.searched + offset;
            self.searched = 0;
            let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
            line.pop();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }

    fn waiting(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_however_the_bytes_are_cut() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\r\nrest";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece);
                while let Some(line) = lines.take() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":2}\r"], "pieces of {size}");
            assert_eq!(lines.waiting(), 4);
        }
    }
}
