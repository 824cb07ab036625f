//! A VM's states and what may be asked of it in each.
//!
//! ```text
//!            create          start            VMM up and told to boot
//!   (none) ─────────► created ─────► starting ─────────────────► running
//!                       ▲               │ failed, undone            │ stop, kill
//!                       │               ▼                           ▼
//!                       │            stopped ◄──────────────── stopping
//!                       │               ▲  VMM ended by itself      │ tear-down failed
//!                       │               └─────── running            ▼
//!                       └ delete leaves every state ◄──────────── error
//! ```
//!
//! `starting` and `stopping` never survive the start of a daemon: reconcile resolves them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a VM is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// It has a record and no more; it has never run.
    Created,
    /// Its resources are being put in place and its VMM started.
    Starting,
    /// Its VMM runs the guest.
    Running,
    /// The guest is being asked to end, or its resources are being removed.
    Stopping,
    /// It has run; its disks are kept and nothing else.
    Stopped,
    /// A tear-down left something behind; the record's last error says what. The next request
    /// or daemon start tries again.
    Error,
}

impl VmState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Starting, Self::Running, Self::Stopping, Self::Stopped, Self::Error];

    /// The state's word, as shown and as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }

    /// Whether a VMM process may exist.
    pub const fn may_have_vmm(self) -> bool {
        !matches!(self, Self::Created | Self::Stopped)
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a user can ask of an existing VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Boot it.
    Start,
    /// Ask the guest to end, then remove what a stopped VM does not keep.
    Stop,
    /// Stop, then start.
    Restart,
    /// Send its VMM a signal.
    Kill,
    /// Remove it with its disks.
    Delete,
    /// Change its spec.
    Set,
    /// Change its forwards.
    Forward,
}

impl Request {
    /// Every request.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Kill,
        Self::Delete,
        Self::Set,
        Self::Forward,
    ];

    /// The verb, as on the command line.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Set => "set",
            Self::Forward => "forward",
        }
    }
}

/// What the VM's task does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Carry it out now.
    Do,
    /// Nothing to do: the VM is already as asked.
    Already,
    /// End the operation under way, then carry it out.
    Interrupt,
    /// Wait for the operation under way, then decide again.
    Wait,
    /// It makes no sense in this state.
    Refuse,
}

/// Decides what a request means in a state. This is the whole policy.
pub const fn decide(state: VmState, request: Request) -> Decision {
    use Request::{Delete, Forward, Kill, Restart, Set, Start, Stop};
    use VmState::{Created, Error, Running, Starting, Stopped, Stopping};
    match (state, request) {
        (Created | Stopped | Error, Start | Restart | Delete | Set | Forward) => Decision::Do,
        (Created | Stopped, Stop) => Decision::Already,
        // A tear-down that failed is tried again.
        (Error, Stop | Kill) => Decision::Do,
        (Created | Stopped, Kill) => Decision::Refuse,
        (Running, Start) => Decision::Already,
        (Running, Stop | Restart | Kill | Delete | Set | Forward) => Decision::Do,
        // A second start joins neither the first one's events nor its deadline.
        (Starting, Start) => Decision::Refuse,
        (Starting, Stop | Kill | Delete | Restart) => Decision::Interrupt,
        (Starting | Stopping, Set | Forward) => Decision::Wait,
        (Stopping, Start | Stop | Restart) => Decision::Wait,
        // The guest does not end, or no longer matters: both cut the wait short.
        (Stopping, Kill | Delete) => Decision::Interrupt,
    }
}

/// How far a running VM has come. Reported apart from the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Nothing runs.
    None,
    /// The VMM runs and was told to boot.
    Vmm,
    /// banger-init has handed over to the image's init.
    Guest,
    /// sshd has sent its banner.
    Ssh,
}

impl Readiness {
    /// The word, as shown and as on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Vmm => "vmm",
            Self::Guest => "guest",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_is_possible_in_every_state() {
        for state in VmState::ALL {
            assert_ne!(decide(state, Request::Delete), Decision::Refuse, "{state}");
        }
    }

    #[test]
    fn nothing_interrupts_or_waits_where_nothing_is_under_way() {
        for state in [VmState::Created, VmState::Running, VmState::Stopped, VmState::Error] {
            for request in Request::ALL {
                let decision = decide(state, request);
                assert!(
                    !matches!(decision, Decision::Interrupt | Decision::Wait),
                    "{state} {request:?}: {decision:?}"
                );
            }
        }
    }

    #[test]
    fn only_settled_states_act_at_once() {
        for state in [VmState::Starting, VmState::Stopping] {
            for request in Request::ALL {
                assert_ne!(decide(state, request), Decision::Do, "{state} {request:?}");
            }
        }
    }

    #[test]
    fn already_means_that_the_goal_holds() {
        for state in VmState::ALL {
            for request in Request::ALL {
                if decide(state, request) == Decision::Already {
                    let holds = match request {
                        Request::Start => state == VmState::Running,
                        Request::Stop => !state.may_have_vmm(),
                        _ => false,
                    };
                    assert!(holds, "{state} {request:?}");
                }
            }
        }
    }
}
