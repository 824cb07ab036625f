//! Work that blocks and takes its time, followed by the operation that it belongs to.

use crate::error::EngineError;
use crate::executor::blocking;
use crate::operation::{Phase, Reporter};
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// What is told while work goes on.
pub(crate) enum Told {
    /// A step begins.
    Step(Phase),
    /// So many bytes are done, of so many if that is known.
    Amount(u64, Option<u64>),
}

pub(crate) type Tell = mpsc::UnboundedSender<Told>;

/// Tells the operation that a step begins, in words.
pub(crate) fn tell_step(to: &Tell, step: impl Into<String>) {
    tell(to, Told::Step(Phase::Build(step.into())));
}

/// Tells the operation. It listens until the work has ended.
pub(crate) fn tell(to: &Tell, told: Told) {
    if to.send(told).is_err() {
        tracing::trace!("nobody listens");
    }
}

/// Who wants what comes of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// It is as good without its asker.
    Everybody,
    /// Nobody, once its asker has left.
    Asker,
}

/// Tells work in another thread to end when whoever waits for it no longer does.
#[derive(Debug, Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs work that blocks; each of its steps is a phase of the operation. It is ended early when the
/// engine ends, when nobody wants it any more, and when this is dropped.
pub(crate) async fn follow<T: Send + 'static>(
    shared: &Arc<Shared>,
    interest: Interest,
    report: &mut Reporter,
    work: impl FnOnce(&AtomicBool, &Tell) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let CancelOnDrop(cancel) = &CancelOnDrop::default();
    let (to, mut told) = mpsc::unbounded_channel();
    let work = {
        let cancel = Arc::clone(cancel);
        blocking(move || work(&cancel, &to))
    };
    let left = report.left();
    tokio::pin!(work, left);
    let mut phase = None;
    let mut take = |told, report: &mut Reporter| match told {
        Told::Step(step) => {
            if let Some(running) = phase.replace(report.begin(step)) {
                report.end(running);
            }
        }
        Told::Amount(done, total) => report.amount(done, total),
    };
    let result = loop {
        let goes_on = !cancel.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            Some(told) = told.recv() => take(told, report),
            result = &mut work => break result,
            () = shared.closing.cancelled(), if goes_on => cancel.store(true, Ordering::Relaxed),
            () = &mut left, if goes_on && interest == Interest::Asker => {
                cancel.store(true, Ordering::Relaxed);
            }
        }
    };
    // The work may have said its last while it was seen to have ended.
    while let Ok(told) = told.try_recv() {
        take(told, report);
    }
    if let (Some(running), Ok(_)) = (phase, &result) {
        report.end(running);
    }
    result
}
