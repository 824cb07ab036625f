//! The level of the log, which can be changed while the daemon runs.

use crate::logging::{FilterHandle, filter};
use banger_api::{LogLevel, LogLevelStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Changes the log's level and changes it back.
#[derive(Debug)]
pub struct LogControl {
    configured: LogLevel,
    /// The filter that is changed; none in a test whose log is somebody else's.
    filter: Option<FilterHandle>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    level: LogLevel,
    back: Option<Back>,
}

/// The way back to the configured level.
#[derive(Debug)]
struct Back {
    at: Instant,
    _task: AbortOnDropHandle<()>,
}

impl LogControl {
    /// The control of a log that is at the configured level.
    pub fn new(configured: LogLevel, filter: Option<FilterHandle>) -> Arc<Self> {
        let now = Mutex::new(Now { level: configured, back: None });
        Arc::new(Self { configured, filter, now })
    }

    /// The level that holds.
    pub fn status(&self) -> LogLevelStatus {
        let now = self.now();
        let left = now.back.as_ref().map(|back| back.at.saturating_duration_since(Instant::now()));
        LogLevelStatus {
            level: now.level,
            configured: self.configured,
            back_in_s: left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0)),
        }
    }

    /// Changes the level, for a while or until the daemon ends. An earlier change is forgotten with
    /// its way back. Needs a Tokio runtime.
    pub fn set(self: &Arc<Self>, level: LogLevel, limit: Option<Duration>) {
        let back = limit.map(|limit| {
            let (control, at) = (Arc::clone(self), Instant::now() + limit);
            let task = tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                control.put(control.configured, None);
            });
            Back { at, _task: AbortOnDropHandle::new(task) }
        });
        self.put(level, back);
    }

    fn put(&self, level: LogLevel, back: Option<Back>) {
        // Said at the graver of the two levels, so that it is seen whichever way it goes.
        tracing::warn!(level_now = level.as_str(), "the log's level changes");
        let outcome = self.filter.as_ref().map(|handle| handle.reload(filter(level)));
        if let Some(Err(error)) = outcome {
            tracing::warn!(%error, "the log's level stays");
            return;
        }
        *self.now() = Now { level, back };
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_level_goes_back_by_itself_unless_another_is_set() {
        let log = LogControl::new(LogLevel::Info, None);
        log.set(LogLevel::Debug, Some(Duration::from_secs(600)));
        let status = log.status();
        assert_eq!((status.level, status.back_in_s), (LogLevel::Debug, Some(600)));
        tokio::time::sleep(Duration::from_secs(601)).await;
        let status = log.status();
        assert_eq!((status.level, status.back_in_s), (LogLevel::Info, None));

        log.set(LogLevel::Debug, Some(Duration::from_secs(600)));
        log.set(LogLevel::Trace, None);
        tokio::time::sleep(Duration::from_secs(601)).await;
        assert_eq!(log.status().level, LogLevel::Trace);
        assert_eq!(log.status().configured, LogLevel::Info);
    }
}
