//! The one shape of every error on the wire.

use banger_core::error::{ErrorCode, Explain};
use banger_core::id::OpId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// What failed, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One of a closed list; `docs/errors.md` has their meaning.
    #[schema(value_type = String, example = "vm_not_found")]
    pub code: ErrorCode,
    /// What was attempted and failed: one sentence, lower case, no full stop.
    pub message: String,
    /// Why, from the nearest cause to the farthest.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What the user can do, most useful first.
    #[serde(default)]
    pub hints: Vec<String>,
    /// The operation that failed; it is in every log line of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub op_id: Option<OpId>,
    /// The file with the raw output, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub log_path: Option<PathBuf>,
}

impl ErrorBody {
    /// Describes an error with its whole chain of causes.
    pub fn of(error: &dyn Explain) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self {
            code: error.code(),
            message: error.to_string(),
            causes,
            hints: error.hints(),
            op_id: None,
            log_path: None,
        }
    }

    /// An error without causes.
    pub fn plain(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            op_id: None,
            log_path: None,
        }
    }

    /// The same error with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl std::fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ErrorBody {}
