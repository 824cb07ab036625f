//! The guard against a guest that hangs: without progress for [`LIMIT`], the boot has failed.
//!
//! A thread of its own, since the main thread may be stuck in the kernel, on a disk that does not
//! answer for instance. It vanishes when the image's init takes over.

use crate::{console, end};
use banger_core::guest::Stage;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How long a stage may go without progress. Replaying the journal of a large disk under emulation
/// takes some ten seconds; a disk that needs this long is not coming.
const LIMIT: Duration = Duration::from_secs(300);

/// The stages in the order of their index in `STAGE`.
const STAGES: [Stage; 7] = [
    Stage::Start,
    Stage::Modules,
    Stage::Network,
    Stage::Root,
    Stage::WorkDisk,
    Stage::Identity,
    Stage::Handover,
];

static STAGE: AtomicU8 = AtomicU8::new(0);
static LAST_PROGRESS_MS: AtomicU64 = AtomicU64::new(0);

/// Starts watching.
pub(crate) fn start() {
    progress();
    // No thread, no watchdog: the boot itself needs none.
    let _thread = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
}

/// Notes which stage is being attempted.
pub(crate) fn enter(stage: Stage) {
    let index = STAGES.iter().position(|&known| known == stage).unwrap_or(0);
    STAGE.store(u8::try_from(index).unwrap_or(0), Ordering::Relaxed);
    progress();
}

/// The stage that is being attempted.
pub(crate) fn stage() -> Stage {
    STAGES[usize::from(STAGE.load(Ordering::Relaxed))]
}

/// Notes that something moves.
pub(crate) fn progress() {
    LAST_PROGRESS_MS.store(console::uptime_ms(), Ordering::Relaxed);
}

fn watch() {
    loop {
        let idle_ms = console::uptime_ms().saturating_sub(LAST_PROGRESS_MS.load(Ordering::Relaxed));
        match LIMIT.checked_sub(Duration::from_millis(idle_ms)) {
            Some(left) if !left.is_zero() => std::thread::park_timeout(left),
            _ => {
                let seconds = LIMIT.as_secs();
                console::failed(stage(), &format!("nothing has moved for {seconds} s"));
                // Without a sync: it would wait for the same disk.
                end::restart()
            }
        }
    }
}
