//! The stage lines on the console, which the host reads.

use banger_core::guest::{Stage, StageDetail, StageLine};
use rustix::time::{ClockId, clock_gettime};
use std::fs::OpenOptions;
use std::io::Write;

/// The console of the kernel; in the initrd as well as in the devtmpfs.
pub(crate) const CONSOLE: &str = "/dev/console";

/// Milliseconds since the kernel started its clock.
pub(crate) fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let [seconds, nanoseconds] = [now.tv_sec, now.tv_nsec].map(|n| u64::try_from(n).unwrap_or(0));
    seconds * 1000 + nanoseconds / 1_000_000
}

/// Says that a stage is reached, with what was left undone on the way, if anything was.
pub(crate) fn reached(stage: Stage, warning: Option<String>) {
    let version = (stage == Stage::Start).then(|| env!("CARGO_PKG_VERSION").to_owned());
    let detail = StageDetail { uptime_ms: uptime_ms(), version, warning, ..StageDetail::default() };
    write_line(&StageLine { stage, detail });
}

/// Says what failed during which stage.
pub(crate) fn failed(during: Stage, error: &str) {
    let detail = StageDetail {
        uptime_ms: uptime_ms(),
        during: Some(during),
        error: Some(error.to_owned()),
        ..StageDetail::default()
    };
    write_line(&StageLine { stage: Stage::Failed, detail });
}

/// Writes a line in one piece, and waits until the serial port has it: a restart right afterwards
/// would lose what is still in the terminal's buffer.
///
/// A guest without a console boots all the same, so errors end here.
fn write_line(line: &StageLine) {
    let Ok(mut console) = OpenOptions::new().write(true).open(CONSOLE) else { return };
    let _written = console.write_all(format!("{}\n", line.render()).as_bytes());
    let _drained = rustix::termios::tcdrain(&console);
}
