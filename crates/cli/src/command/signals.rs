//! The signals that ask this process to end.

use super::Session;
use crate::failure::Failure;
use tokio::signal::unix::{self, SignalKind, signal};

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal(rustix::process::Signal);

impl Signal {
    /// 128 and the signal's number, as shells have it.
    pub(super) fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0.as_raw()).unwrap_or(u8::MAX)
    }

    pub(super) fn get(self) -> rustix::process::Signal {
        self.0
    }

    /// Whether the terminal was closed.
    pub(super) fn is_hangup(self) -> bool {
        self.0 == rustix::process::Signal::HUP
    }
}

/// Receives these signals instead of dying of them, from its making on.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::internal(&format!("signals cannot be received: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        use rustix::process::Signal as Number;
        Signal(tokio::select! {
            _ = self.interrupt.recv() => Number::INT,
            _ = self.terminate.recv() => Number::TERM,
            _ = self.hangup.recv() => Number::HUP,
        })
    }

    /// The next one but that of a closed terminal, which the next call of [`Signals::next`] gives.
    pub(super) async fn next_but_hangup(&mut self) -> Signal {
        use rustix::process::Signal as Number;
        Signal(tokio::select! {
            _ = self.interrupt.recv() => Number::INT,
            _ = self.terminate.recv() => Number::TERM,
        })
    }
}

/// Awaits an operation unless this process is told to end. Then the operation ends too, since the
/// daemon breaks it off when nobody listens to it, which is said.
pub(super) async fn unless_broken_off<T>(
    session: &Session<'_>,
    operation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let then = "the daemon breaks it off, unless it is whole already";
    unless_told_to_end(session, then, operation).await
}

/// Awaits an operation unless this process is told to end. Then the operation goes on in the
/// daemon, which is said.
pub(super) async fn unless_left<T>(
    session: &Session<'_>,
    operation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let then = "the daemon goes on with it; `banger vm list` shows how far it is";
    unless_told_to_end(session, then, operation).await
}

/// Awaits an operation unless this process is told to end. `then` says what becomes of it.
async fn unless_told_to_end<T>(
    session: &Session<'_>,
    then: &str,
    operation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        result = operation => result,
        signal = signals.next() => {
            session.output.note(then);
            Err(Failure::Exit(signal.exit_code()))
        }
    }
}
