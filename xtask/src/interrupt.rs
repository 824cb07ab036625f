//! Ctrl-C and SIGTERM, noted instead of obeyed, so that what was started can be cleaned up.
//!
//! A process that another xtask process started also counts the end of its standard input as an
//! interrupt: the other end of that pipe is held by its parent, so it works through `sudo` and when
//! the parent was killed.

use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static INPUT_ENDED: AtomicBool = AtomicBool::new(false);

/// The error of work that ended early because the user wanted it to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// How often the user asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Not at all.
    None,
    /// Once: end in good order.
    Once,
    /// Again: end at once.
    Again,
}

/// Notes SIGINT, SIGTERM and SIGHUP from now on.
pub(crate) fn catch_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores into an atomic, which is async-signal-safe; the structure
        // is plain data for which all zeros is valid.
        #[expect(unsafe_code, reason = "the standard library has no signal handlers")]
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn note(_signal: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Counts the end of standard input as an interrupt from now on.
pub(crate) fn watch_stdin() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        INPUT_ENDED.store(true, Ordering::Relaxed);
    });
}

/// How often the user asked to end.
pub(crate) fn urgency() -> Urgency {
    match SIGNALS.load(Ordering::Relaxed) {
        0 if !INPUT_ENDED.load(Ordering::Relaxed) => Urgency::None,
        0 => Urgency::Once,
        1 => Urgency::Once,
        _ => Urgency::Again,
    }
}

/// An error if the user asked to end.
pub(crate) fn check() -> Result<(), Interrupted> {
    if urgency() == Urgency::None { Ok(()) } else { Err(Interrupted) }
}
