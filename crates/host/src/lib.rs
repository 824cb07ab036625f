//! The only crate that changes the machine.
//!
//! [`Host`] has three verbs over [`Resource`]; [`Processes`] answers questions about, and sends
//! signals to, the one kind of resource that is alive. [`LinuxHost`] does it for real, [`SimHost`]
//! keeps its objects in a file and can be told to fail. Everything that crosses either trait is
//! plain data, so that a privileged helper can stand behind them one day.
//!
//! [`cmd`] is the one place that starts programs.

mod changes;
pub mod cmd;
mod dirs;
mod error;
pub mod facts;
mod holder;
mod linux;
pub mod raw_log;
pub mod resolved;
pub mod sim;

pub use changes::Changes;
pub use error::HostError;
pub use holder::{Holder, holder_in_words, port_holder};
pub use linux::{LinuxHost, copy_file};
pub use sim::{
    Artifacts, Effect, Fault, FaultError, ForeignLink, ForeignLinkError, GuestScript,
    GuestScriptError, Pace, ProgramScript, ProgramScriptError, SimHost, SimOptions, Verb,
};

use banger_core::resource::{Observed, Resource, VmmProcess};
use banger_core::unit::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a verb did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Change {
    /// The host is different now.
    Changed,
    /// It was already so.
    Unchanged,
}

/// The host as a set of resources.
///
/// The verbs block; an async caller runs them where blocking is allowed.
pub trait Host: Send + Sync + std::fmt::Debug {
    /// Makes the resource exist as described. What exists already in part is completed; a disk
    /// that is smaller than described grows, and none ever shrinks.
    fn ensure(&self, resource: &Resource) -> Result<Change, HostError>;

    /// Makes the resource not exist. Removing what is absent succeeds.
    ///
    /// Only the fields that name the object are read, so that a leftover can be removed.
    fn remove(&self, resource: &Resource) -> Result<Change, HostError>;

    /// Whether the inventory would have the object. For files and directories nothing else is looked
    /// at, so that this is quick.
    fn has(&self, resource: &Resource) -> Result<bool, HostError>;

    /// Every object on the host that bears this instance's mark, sorted by key.
    fn inventory(&self) -> Result<Vec<Observed>, HostError>;
}

/// What can be asked of, and done to, a running VMM beyond its being there.
pub trait Processes: Send + Sync + std::fmt::Debug {
    /// The running process, or `None` if it is not running (any more). The identity (pid, start
    /// time, boot id, API socket among the arguments) is checked at each call.
    fn find(&self, vmm: &VmmProcess) -> Result<Option<ProcessView>, HostError>;

    /// Sends a signal, after the identity was checked once more through a pidfd. `Unchanged` means
    /// that no such process runs.
    fn signal(&self, vmm: &VmmProcess, signal: Signal) -> Result<Change, HostError>;

    /// Completes when the process has ended; at once if it does not run. It may be dropped at any
    /// time. Must be called and awaited inside a Tokio runtime.
    fn exited(&self, vmm: &VmmProcess) -> Result<ExitFuture, HostError>;

    /// Cuts the middle out of each of the VMM's logs that is longer than what is kept of one
    /// ([`raw_log`]). `Unchanged` means that none is.
    fn bound_output(&self, vmm: &VmmProcess) -> Result<Change, HostError>;
}

/// Completes with how the process ended.
pub type ExitFuture = Pin<Box<dyn Future<Output = Exit> + Send>>;

/// How a process ended, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was not this daemon's child, so nobody could ask.
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// What the host says about a running VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessView {
    /// The process id.
    pub pid: u32,
    /// Memory that is resident now.
    pub resident: Bytes,
    /// Processor time used so far, in user and kernel mode together.
    pub cpu: Duration,
}

/// A signal by number, 1 to 64, readable by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

/// The signals that have a name here, by their numbers on x86-64 and arm64 Linux (signal(7)).
const SIGNALS: [(&str, i32); 10] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
];

/// A text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no signal; give a name such as `TERM` or `SIGKILL`, or a number from 1 to 64"
)]
pub struct SignalError {
    /// The text that was refused.
    pub text: String,
}

impl Signal {
    /// Ends the process without asking it.
    pub const KILL: Self = Self(9);
    /// Asks the process to end.
    pub const TERM: Self = Self(15);

    /// Whether it leaves a process that does not handle it alive: it stops, continues or informs
    /// (signal(7), default actions).
    pub const fn spares(self) -> bool {
        matches!(self.0, 17..=23 | 28)
    }

    /// The signal's number.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl std::str::FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        let number = named.or_else(|| text.parse().ok().filter(|n| (1..=64).contains(n)));
        number.map(Self).ok_or_else(|| SignalError { text: text.to_owned() })
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_by_number() {
        for text in ["KILL", "SIGKILL", "sigkill", "9"] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal::KILL, "{text}");
        }
        for text in ["", "SIG", "0", "65", "-9", "KILLALL"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
    }
}
