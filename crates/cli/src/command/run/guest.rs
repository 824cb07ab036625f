//! The command in the guest, as a child that signals do not orphan.

use super::End;
use crate::command::signals::{Signal, Signals};
use crate::command::ssh;
use crate::failure::Failure;
use crate::launch;
use banger_api::SshTarget;
use rustix::process::{Pid, kill_process};
use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use tokio::process::Child;

/// Runs the command to its end. A signal is passed on to ssh; a second one ends ssh at once.
pub(super) async fn run(target: &SshTarget, command: &[String], signals: &mut Signals) -> End {
    let child = match launch::start_ssh(&ssh::arguments(target, command), Stdio::inherit()) {
        Ok(child) => child,
        Err(error) => return End::Failed(error.into()),
    };
    match attend(child, signals, std::future::pending::<Infallible>()).await {
        Ok(end) => end,
        Err((never, _)) => match never {},
    }
}

/// Awaits ssh's end in this way. It is told to end once `over` completes; then that says what the
/// session came to, beside a signal that came all the same.
pub(in crate::command) async fn attend<T>(
    mut child: Child,
    signals: &mut Signals,
    over: impl Future<Output = T>,
) -> Result<End, (T, Option<Signal>)> {
    let (mut first, mut ended_by) = (None::<Signal>, None);
    tokio::pin!(over);
    loop {
        let signal = tokio::select! {
            // Somebody who has said to end does not mean what else has happened by then.
            biased;
            signal = signals.next() => signal,
            status = child.wait() => return match ended_by {
                Some(over) => Err((over, first)),
                None => Ok(end(status, first)),
            },
            over = &mut over, if first.is_none() && ended_by.is_none() => {
                ended_by = Some(over);
                pass_on(&child, rustix::process::Signal::TERM);
                continue;
            }
        };
        match (first, &ended_by) {
            (None, None) => pass_on(&child, signal.get()),
            _ => pass_on(&child, rustix::process::Signal::KILL),
        }
        first.get_or_insert(signal);
    }
}

fn end(status: std::io::Result<ExitStatus>, signal: Option<Signal>) -> End {
    match (status, signal) {
        (_, Some(signal)) => End::Signal(signal),
        (Ok(status), None) => End::Code(code(status)),
        (Err(error), None) => {
            End::Failed(Failure::internal(&format!("ssh cannot be waited for: {error}")))
        }
    }
}

/// The exit code, or 128 and the number of the signal that ended it, as shells have it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// On a terminal ssh got the signal as well; to get it twice does no harm. It may also just have
/// ended, which is as good.
fn pass_on(child: &Child, signal: rustix::process::Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, signal).unwrap_or_default();
    }
}
