//! Why a VM is as it is, as it is on the wire.

use crate::{LogSource, Vm};
use banger_core::guest::Stage;
use banger_core::id::{OpId, VmId};
use banger_core::telling::Telling;
use banger_core::vm_name::VmName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// What is known about a VM that runs, ended, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Its name.
    #[schema(value_type = String, example = "otter")]
    pub name: VmName,
    /// Its id.
    #[schema(value_type = String, example = "0f5k2m9q")]
    pub id: VmId,
    /// The VM; absent where its creation failed and nothing else is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<Vm>,
    /// Why it last failed or ended by itself.
    pub last_error: Option<String>,
    /// The operation that brought it into its state, or that failed to make it: its lines in the
    /// daemon's log tell the rest.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "k3m9x2p7qa")]
    pub op_id: Option<OpId>,
    /// When its creation failed, RFC 3339 in UTC; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    /// The stages of the last boot, in order.
    pub stages: Vec<BootStage>,
    /// The first telling line of each kind, the console's before the VMM's.
    pub findings: Vec<Finding>,
    /// The end of what the guest wrote to its console.
    pub console: LogEnd,
    /// The end of what the VMM wrote about itself.
    pub vmm: LogEnd,
}

/// A stage of a boot, as banger-init reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootStage {
    /// What was reached: `start`, `modules`, `network`, `root`, `work_disk`, `identity`, `handover`,
    /// or `failed`.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// When, in milliseconds since the guest's kernel started.
    pub at_ms: u64,
    /// How long it took since the stage before.
    pub took_ms: u64,
    /// What was left undone on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// For `failed`: the stage that was being attempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub during: Option<Stage>,
    /// For `failed`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A line that says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What kind of line it is, such as `kernel_panic` or `out_of_memory`.
    #[schema(value_type = String, example = "kernel_panic")]
    pub telling: Telling,
    /// Which log it is in.
    pub source: LogSource,
    /// The first such line.
    pub line: String,
    /// How many such lines there are.
    pub count: u32,
    /// What it means.
    pub meaning: String,
    /// What to do about it.
    pub hint: String,
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEnd {
    /// The log.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Its last lines, blank ones and escape sequences left out.
    pub lines: Vec<LogLine>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// What it says.
    pub text: String,
    /// What kind of telling line it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub telling: Option<Telling>,
}
