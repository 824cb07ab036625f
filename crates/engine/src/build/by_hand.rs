//! The part of a build that its user does by hand, in a session of their own.
//!
//! ```text
//!   all else is done ─► enterable ─┬───────────────────────────► told to save ─► looked at
//!                                  └─► the guest has shut down ─► told to save ─► booted ─► looked at
//! ```
//!
//! Until it is told to save, the build needs its asker: it ends when nobody listens to it any more.

use super::{AFTERMATH, Content, Job, SHUTDOWN, is_broken_off};
use crate::console::{last_lines, says_down};
use crate::error::{EngineError, ImageBuildError};
use crate::operation::{Phase, Reporter};
use crate::task::Work;
use crate::view::{LastEnd, VmView};
use banger_core::error::fault;
use banger_core::state::VmState;
use banger_host::Changes;
use banger_provision::{Exit, Guest, ProvisionError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How often the console is looked at at most, for the words of a machine that is down.
const CONSOLE_PERIOD: Duration = Duration::from_secs(1);

/// How far the work by hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    NotYet,
    UnderWay,
    Done,
}

/// The work by hand, as the build and those see it who tell it something.
#[derive(Debug, Clone)]
pub(super) struct Handwork(watch::Sender<Stage>);

impl Default for Handwork {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::NotYet))
    }
}

impl Handwork {
    /// From now on it can be told to be done.
    fn begin(&self) {
        self.0.send_replace(Stage::UnderWay);
    }

    /// It is done. `false` where it has not begun; then nothing changes.
    pub(super) fn finish(&self) -> bool {
        let has_begun = *self.0.borrow() != Stage::NotYet;
        if has_begun {
            self.0.send_replace(Stage::Done);
        }
        has_begun
    }

    pub(super) fn is_done(&self) -> bool {
        *self.0.borrow() == Stage::Done
    }

    /// Completes when it is done.
    async fn done(&self) {
        let mut stage = self.0.subscribe();
        stage
            .wait_for(|stage| *stage == Stage::Done)
            .await
            .expect("the sender is this value's own");
    }
}

/// Completes when nobody is there any more for the work by hand, where there is any. Once that is done a
/// build goes on without its asker, as any other does.
pub(super) async fn abandoned(work: Option<Handwork>, left: impl Future<Output = ()>) {
    let Some(work) = work else { return std::future::pending().await };
    tokio::select! {
        biased;
        () = work.done() => std::future::pending().await,
        () = left => {}
    }
}

impl Job {
    /// Leaves the guest to its user until that has done, and looks at what there is then. A guest that
    /// has been shut down meanwhile is booted for that.
    pub(super) async fn by_hand(
        &self,
        before: Arc<dyn Guest>,
        base_digest: &str,
        report: &mut Reporter,
    ) -> Result<Content, EngineError> {
        self.await_user(report).await?;
        if !self.is_down() {
            let concluded = self.in_guest(async {
                let guest = self.enter_again(before).await;
                self.conclude(guest.as_ref(), base_digest, report).await
            });
            match concluded.await {
                Err(error) if self.is_shutting_down(&error).await => {}
                concluded => return concluded,
            }
        }
        // Of one that its VMM has not seen to be down, the VMM is killed.
        self.ask(Work::Stop { timeout: AFTERMATH }, report).await?;
        self.boot(report).await?;
        let guest = self.in_guest(self.enter(report)).await?;
        self.in_guest(self.conclude(guest.as_ref(), base_digest, report)).await
    }

    async fn await_user(&self, report: &mut Reporter) -> Result<(), EngineError> {
        let work = self.entered.handwork();
        let name = self.handle.view().vm.name;
        let phase = report.begin(Phase::Build("wait for the work by hand".to_owned()));
        work.begin();
        report.enterable(name.clone());
        tokio::select! {
            biased;
            () = work.done() => {}
            shut_down = self.shut_down() => {
                shut_down?;
                report.guest_ended(name);
                tokio::select! {
                    biased;
                    () = work.done() => {}
                    error = self.ended_by_others() => return Err(error),
                }
            }
        }
        report.end(phase);
        Ok(())
    }

    /// A session for what comes after the work by hand. The one from before may have ended with it, or
    /// be the only one that is still let in.
    async fn enter_again(&self, before: Arc<dyn Guest>) -> Arc<dyn Guest> {
        match self.open_session().await {
            Ok(guest) => guest,
            Err(error) => {
                tracing::info!(error = fault(&error), "the session from before is used");
                before
            }
        }
    }

    /// Completes when the guest has shut down in good order; with an error when it has ended otherwise.
    async fn shut_down(&self) -> Result<(), EngineError> {
        let mut changes = Changes::of(&[&self.handle.view().paths.console_log]);
        while !self.is_halted() {
            tokio::select! {
                biased;
                error = self.vm_ended() => match has_shut_down(&self.handle.view()) {
                    true => return Ok(()),
                    false => return Err(error),
                },
                () = changes.next() => tokio::time::sleep(CONSOLE_PERIOD).await,
            }
        }
        Ok(())
    }

    /// Whether the work failed because the user has shut the guest down: that takes a while, and ends
    /// sessions and programs at its beginning.
    async fn is_shutting_down(&self, error: &EngineError) -> bool {
        let may_be = is_broken_off(error) || is_of_a_signal(error);
        let limit = if may_be { SHUTDOWN } else { Duration::ZERO };
        matches!(timeout(limit, self.shut_down()).await, Ok(Ok(())))
    }

    fn is_down(&self) -> bool {
        self.handle.view().vm.state != VmState::Running || self.is_halted()
    }

    /// Whether the kernel has brought the machine down, and its VMM has not ended yet.
    fn is_halted(&self) -> bool {
        let last = last_lines(&self.handle.view().paths.console_log, 1);
        last.iter().any(|line| says_down(line))
    }

    /// Completes when another request has stopped, killed or deleted the VM.
    async fn ended_by_others(&self) -> EngineError {
        let mut watch = self.handle.watch();
        while !self.entered.is_ended() && watch.changed().await.is_ok() {}
        ImageBuildError::Ended { name: self.handle.view().vm.name }.into()
    }
}

/// Whether the guest has ended by itself and in good order.
fn has_shut_down(view: &VmView) -> bool {
    view.last_end == Some(LastEnd::ByItself) && view.vm.last_error.is_none()
}

/// Whether a program in the guest was ended by a signal.
fn is_of_a_signal(error: &EngineError) -> bool {
    use ProvisionError::Failed;
    let EngineError::ImageBuild(ImageBuildError::Provision(Failed { exit, .. })) = error else {
        return false;
    };
    matches!(exit, Exit::Signal(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn only_work_that_has_begun_can_be_done() {
        let work = Handwork::default();
        assert!(!work.finish(), "it has not begun");
        work.begin();
        assert!(work.finish());
        work.done().await;
        assert!(work.finish(), "twice is as good");
    }

    #[tokio::test]
    async fn whoever_leaves_before_the_work_is_done_has_abandoned_it() {
        let work = Handwork::default();
        let left = || Box::pin(abandoned(Some(work.clone()), async {})).now_or_never();
        assert_eq!(left(), Some(()), "it has not begun");
        work.begin();
        assert_eq!(left(), Some(()), "it is not done");
        assert!(work.finish());
        assert_eq!(left(), None, "it is done");
        assert_eq!(Box::pin(abandoned(None, async {})).now_or_never(), None, "there is none");
    }
}
