//! The events of an operation that takes time.

use crate::{ErrorBody, Vm};
use banger_core::id::OpId;
use banger_core::vm_name::VmName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of an `application/x-ndjson` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The operation was accepted; always first.
    Accepted {
        /// The operation's id.
        #[schema(value_type = String)]
        op_id: OpId,
    },
    /// A phase began.
    Begin {
        /// What is being done, a few words: `start the VMM`.
        phase: String,
    },
    /// The phase that began last has ended well.
    End {
        /// The phase.
        phase: String,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
    },
    /// So much of the phase that began last is done.
    Amount {
        /// Bytes.
        done: u64,
        /// All of them, if that is known.
        total: Option<u64>,
    },
    /// Something worth knowing that is no failure.
    Note {
        /// One sentence.
        message: String,
    },
    /// A line that a program in a guest said. When there are many, some are left out; the operation's
    /// log has all.
    Line {
        /// The line, without control characters.
        text: String,
    },
    /// A VM is there for its user to work in. The operation goes on when it is told to save.
    Enterable {
        /// The VM's name.
        #[schema(value_type = String)]
        vm: VmName,
    },
    /// The guest of that VM has shut down. The operation waits on, and can be told to save.
    GuestEnded {
        /// The VM's name.
        #[schema(value_type = String)]
        vm: VmName,
    },
    /// The operation succeeded; always last.
    Done {
        /// What it came to.
        outcome: Box<Outcome>,
    },
    /// The operation failed; always last.
    Failed {
        /// Why.
        error: Box<ErrorBody>,
    },
}

/// What a successful operation came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The operation's id.
    #[schema(value_type = String)]
    pub op_id: OpId,
    /// The VM as it is now; absent after a delete and for operations that concern no VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<Vm>,
    /// Whether anything was done; false when it was already so.
    pub changed: bool,
    /// The phases, in order.
    #[serde(default)]
    pub timings: Vec<Timing>,
    /// What is worth knowing, such as that a guest had to be killed.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How long one phase took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timing {
    /// The phase.
    pub phase: String,
    /// Milliseconds.
    pub elapsed_ms: u64,
}
