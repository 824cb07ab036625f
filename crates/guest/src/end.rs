//! The one way in which banger-init gives up: say why, flush, restart.

use crate::{console, watchdog};
use banger_core::guest::Stage;
use rustix::system::{RebootCommand, reboot};
use std::error::Error;

/// Reports the failure and ends the guest.
pub(crate) fn fail(during: Stage, error: &str) -> ! {
    console::failed(during, error);
    // The watchdog still runs, in case a broken disk makes this wait.
    rustix::fs::sync();
    restart()
}

/// Restarts the guest, which ends its VMM: Firecracker exits on a reset by the keyboard controller
/// (`reboot=k`) and does not on a power-off; QEMU runs with `-no-reboot`.
pub(crate) fn restart() -> ! {
    let _refused = reboot(RebootCommand::Restart);
    // The kernel panics when process 1 dies, and restarts after that (`panic=1`).
    std::process::abort()
}

/// Makes a panic a failure like any other.
pub(crate) fn on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        fail(watchdog::stage(), &format!("banger-init has a defect: {panic}"));
    }));
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path_error::On;
    use std::path::Path;

    #[test]
    fn a_failure_reads_as_one_line_with_its_causes() {
        let missing = std::fs::read("/nonexistent").on("read", Path::new("/nonexistent"));
        assert_eq!(
            chain(&missing.unwrap_err()),
            "cannot read `/nonexistent`: No such file or directory (os error 2)"
        );
    }
}
