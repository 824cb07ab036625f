//! How a command ends when it does not end well.

use crate::command::SshConfigError;
use crate::connect::ConnectError;
use crate::launch::LaunchError;
use banger_api::ErrorBody;
use banger_api::client::ClientError;
use banger_core::dirs::DirsError;
use banger_core::error::ErrorCode;
use std::io;

/// Why a command stops.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error that the user has yet to be told.
    Error(Box<ErrorBody>),
    /// A command line that is wrong, which the user has yet to be told.
    Usage(Box<ErrorBody>),
    /// Everything was said; the exit code is left.
    Exit(u8),
    /// Standard output cannot be written.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn internal(message: &str) -> Self {
        ErrorBody::plain(ErrorCode::Internal, message).into()
    }

    /// A refusal of the command line in the shape of every other error. The parser's text has the
    /// message in its first paragraph, and then tips and usage.
    pub(crate) fn usage(refusal: &clap::Error) -> Self {
        let text = refusal.render().to_string();
        let message = text.split("\n\n").next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message).trim_end();
        let body = ErrorBody::plain(ErrorCode::InvalidRequest, message);
        Self::Usage(Box::new(body.hint("`--help` shows what can be given")))
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self::Error(Box::new(body))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        error.into_body().into()
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        error.into_body().into()
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        ErrorBody::of(&error).into()
    }
}

impl From<SshConfigError> for Failure {
    fn from(error: SshConfigError) -> Self {
        ErrorBody::of(&error).into()
    }
}

impl From<DirsError> for Failure {
    fn from(error: DirsError) -> Self {
        ErrorBody::of(&error).into()
    }
}
