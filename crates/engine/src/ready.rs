//! Waiting until a VM is as ready as asked, with an honest word when it is not.

use crate::console::last_lines;
use crate::engine::StartOptions;
use crate::error::EngineError;
use crate::operation::{Finished, Phase, Reporter};
use crate::task::VmHandle;
use crate::view::{LastEnd, VmView};
use banger_core::state::{Readiness, Request, VmState};
use tokio::time::{Instant, timeout_at};

/// How many of the console's last lines go into an error.
const TAIL_LINES: usize = 10;

/// Waits for the readiness that the options name. The VM is left alone whatever happens.
pub(crate) async fn wait_ready(
    handle: &VmHandle,
    options: StartOptions,
    changed: bool,
    report: &mut Reporter,
) -> Result<Finished, EngineError> {
    let deadline = Instant::now() + options.timeout;
    for (phase, level) in [(Phase::Guest, Readiness::Guest), (Phase::Ssh, Readiness::Ssh)] {
        if options.wait >= level {
            let phase = report.begin(phase);
            wait_for(handle, level, deadline, options).await?;
            report.end(phase);
        }
    }
    Ok(Finished { vm: Some(handle.view()), changed })
}

async fn wait_for(
    handle: &VmHandle,
    level: Readiness,
    deadline: Instant,
    options: StartOptions,
) -> Result<(), EngineError> {
    let mut watch = handle.watch();
    let reached = |view: &VmView| view.readiness >= level;
    let over = |view: &VmView| !matches!(view.vm.state, VmState::Running | VmState::Stopping);
    let waited = timeout_at(deadline, watch.wait_for(|view| reached(view) || over(view))).await;
    let view = match waited {
        Ok(Ok(view)) if reached(&view) => return Ok(()),
        Ok(Ok(view)) => view.clone(),
        // The task is gone: another request deleted the VM.
        Ok(Err(_)) => return Err(interrupted(handle.view())),
        Err(_) => {
            let view = handle.view();
            return Err(EngineError::NotReady {
                name: view.vm.name,
                seconds: options.timeout.as_secs(),
                reached: view.readiness,
                log_path: view.paths.console_log,
            });
        }
    };
    Err(match ended_by_itself(&view) {
        Some(reason) => EngineError::GuestFailed {
            name: view.vm.name,
            reason,
            tail: last_lines(&view.paths.console_log, TAIL_LINES),
            log_path: view.paths.console_log,
        },
        None => interrupted(view),
    })
}

/// Why a VM runs no longer, if nobody asked for it.
pub(crate) fn ended_by_itself(view: &VmView) -> Option<String> {
    let in_order = || "the guest shut itself down".to_owned();
    let reason = || view.vm.last_error.clone().unwrap_or_else(in_order);
    (view.last_end == Some(LastEnd::ByItself)).then(reason)
}

fn interrupted(view: VmView) -> EngineError {
    EngineError::Interrupted { name: view.vm.name, request: Request::Start }
}
