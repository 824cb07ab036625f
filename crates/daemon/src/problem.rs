//! Errors as HTTP answers: which status a code has, and what the engine's errors become.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use banger_api::ErrorBody;
use banger_core::error::{ErrorCode, Explain, chain};
use banger_engine::{EngineError, OperationError};
use std::error::Error;

/// An error on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status line.
    pub status: StatusCode,
    /// The body.
    pub body: ErrorBody,
}

impl Problem {
    /// A problem with the status that fits its code.
    pub fn new(body: ErrorBody) -> Self {
        Self { status: status_of(body.code), body }
    }

    /// A problem of the request itself.
    pub fn request(message: impl Into<String>) -> Self {
        Self::new(ErrorBody::plain(ErrorCode::InvalidRequest, message))
    }

    /// The same problem with a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.body.causes.push(cause.into());
        self
    }

    /// The same problem with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body = self.body.hint(hint);
        self
    }

    /// The same problem with another status than its code's.
    #[must_use]
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        Self::new(describe(&error))
    }
}

impl From<&OperationError> for Problem {
    fn from(error: &OperationError) -> Self {
        Self::new(describe_operation(error))
    }
}

/// The status of an answer that is an error with this code.
pub fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::InvalidConfig => StatusCode::BAD_REQUEST,
        ErrorCode::NotPermitted => StatusCode::FORBIDDEN,
        ErrorCode::VmNotFound | ErrorCode::ImageNotFound => StatusCode::NOT_FOUND,
        ErrorCode::AmbiguousReference
        | ErrorCode::NameTaken
        | ErrorCode::ImageInUse
        | ErrorCode::WrongState
        | ErrorCode::Interrupted
        | ErrorCode::SubnetExhausted
        | ErrorCode::NetworkConflict
        | ErrorCode::AlreadyRunning
        | ErrorCode::VersionMismatch => StatusCode::CONFLICT,
        ErrorCode::ImageUnusable | ErrorCode::BundleUnusable => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Host | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Vmm | ErrorCode::GuestFailed => StatusCode::BAD_GATEWAY,
        ErrorCode::MissingDependency | ErrorCode::DaemonUnreachable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// An engine error as it is on the wire.
pub fn describe(error: &EngineError) -> ErrorBody {
    let mut body = ErrorBody { log_path: error.log_path().cloned(), ..ErrorBody::of(error) };
    body.causes.extend(error.faults().iter().map(|fault| chain(fault)));
    body
}

/// The error of an operation as it is on the wire, with what its undo or tear-down left behind.
pub fn describe_operation(failed: &OperationError) -> ErrorBody {
    let mut body = describe(&failed.error);
    body.op_id = Some(failed.op_id.clone());
    for left in &failed.left {
        body.causes.push(format!("could not remove `{}`: {}", left.object, chain(&left.error)));
    }
    if let Some(first) = failed.left.first() {
        body.hints
            .push(format!("`{}` is left; the daemon tries again when it starts", first.object));
    }
    if body.hints.is_empty() && is_unexplained(body.code) {
        body.hints.push(format!("`banger daemon logs --op {}` shows each step", failed.op_id));
    }
    body
}

/// Whether nobody who reads the message alone could know what to do.
fn is_unexplained(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::InvalidRequest | ErrorCode::Interrupted)
}

/// An error without a code of its own that reaches a user: a defect.
pub fn internal(error: &dyn Error) -> Problem {
    Problem::new(ErrorBody::plain(ErrorCode::Internal, chain(error)))
}

/// An error that explains itself.
pub fn explained(error: &dyn Explain) -> Problem {
    Problem::new(ErrorBody::of(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::id::{OpId, VmId};
    use banger_core::resource::{ResourceKey, Role};
    use banger_engine::LeftBehind;
    use banger_host::HostError;

    fn refused(object: &str) -> HostError {
        HostError::Refused {
            action: "remove",
            object: object.to_owned(),
            reason: "it is busy".to_owned(),
        }
    }

    fn left(object: &str) -> LeftBehind {
        LeftBehind {
            key: ResourceKey::of_vm(&VmId::from_entropy(1), Role::Tap),
            object: object.to_owned(),
            error: refused(object),
        }
    }

    #[test]
    fn every_code_is_an_error_status() {
        for code in ErrorCode::ALL {
            let status = status_of(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }

    #[test]
    fn what_is_left_is_among_the_causes_and_the_operation_is_named() {
        let failed = OperationError {
            op_id: OpId::from_entropy(7),
            error: EngineError::Setup { name: "otter".parse().unwrap(), source: refused("tap0") },
            left: vec![left("/x/root.img")],
        };
        let body = describe_operation(&failed);
        assert_eq!(body.op_id, Some(OpId::from_entropy(7)));
        assert_eq!(
            body.causes,
            [
                "could not remove `tap0`: it is busy",
                "could not remove `/x/root.img`: could not remove `/x/root.img`: it is busy"
            ]
        );
        assert_eq!(body.hints, ["`/x/root.img` is left; the daemon tries again when it starts"]);
    }
}
