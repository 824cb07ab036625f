//! What can go wrong between a client and the daemon.

use crate::{API_VERSION, ErrorBody, Version};
use banger_core::error::{ErrorCode, Explain};
use banger_core::id::OpId;
use std::io;
use std::path::PathBuf;

/// Why a request has no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens at the socket.
    #[error("the daemon does not answer at `{}`", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why it could not be connected.
        #[source]
        source: io::Error,
    },
    /// The socket is another user's, or somebody else serves it.
    #[error("the socket `{}` belongs to user {owner}, and this is user {user}", socket.display())]
    ForeignSocket {
        /// The socket.
        socket: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asked.
        user: u32,
    },
    /// The socket's permissions forbid it.
    #[error("the socket `{}` cannot be opened", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon refused the request, or the operation failed.
    #[error("{0}")]
    Api(Box<ErrorBody>),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer `{request}` within {seconds} s")]
    Silent {
        /// Method and path.
        request: String,
        /// How long it had.
        seconds: u64,
    },
    /// The connection ended in the middle of an answer.
    #[error("the daemon went away before it had finished")]
    BrokenOff {
        /// The operation that was under way, if it was one.
        op_id: Option<OpId>,
        /// What the connection said, where it did not just end.
        #[source]
        source: Option<hyper::Error>,
    },
    /// The answer is not what this API's version has.
    #[error("the daemon's answer to `{request}` is not understood: {what}")]
    Protocol {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        what: String,
        /// Why it could not be read.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// Client and daemon are of different builds that cannot talk.
    #[error(
        "the daemon is version {} and speaks API {}; this client speaks API {API_VERSION}",
        daemon.version,
        daemon.api
    )]
    VersionMismatch {
        /// The daemon's build.
        daemon: Box<Version>,
    },
}

impl ClientError {
    /// Refuses a daemon that speaks another version of the API.
    pub fn check_api(daemon: &Version) -> Result<(), Self> {
        if daemon.api == API_VERSION {
            Ok(())
        } else {
            Err(Self::VersionMismatch { daemon: Box::new(daemon.clone()) })
        }
    }

    /// Whether there is no daemon at the socket, so that starting one would help.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the daemon took the connection and ended it before it had answered.
    pub fn is_broken_off(&self) -> bool {
        matches!(self, Self::BrokenOff { .. })
    }

    /// The error in the one shape of the wire. What the daemon said is passed on as it is.
    pub fn into_body(self) -> ErrorBody {
        match self {
            Self::Api(body) => *body,
            Self::BrokenOff { ref op_id, .. } => {
                ErrorBody { op_id: op_id.clone(), ..ErrorBody::of(&self) }
            }
            other => ErrorBody::of(&other),
        }
    }
}

impl From<ClientError> for ErrorBody {
    fn from(error: ClientError) -> Self {
        error.into_body()
    }
}

impl Explain for ClientError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } | Self::BrokenOff { .. } => ErrorCode::DaemonUnreachable,
            Self::ForeignSocket { .. } | Self::Forbidden { .. } => ErrorCode::NotPermitted,
            Self::Api(body) => body.code,
            Self::Silent { .. } => ErrorCode::Timeout,
            Self::Protocol { .. } => ErrorCode::Internal,
            Self::VersionMismatch { .. } => ErrorCode::VersionMismatch,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Unreachable { .. } => "start it with `banger daemon start`",
            Self::ForeignSocket { .. } => {
                "run the command as that user, or set `BANGER_RUNTIME_DIR` to a directory of your own"
            }
            Self::Forbidden { .. } => "the socket should be yours, with mode 0600",
            Self::Api(body) => return body.hints.clone(),
            Self::Silent { .. } => "`banger daemon logs` shows what it is doing",
            Self::BrokenOff { .. } => {
                "`banger vm list` shows what came of it, `banger daemon logs` what happened"
            }
            Self::Protocol { .. } | Self::VersionMismatch { .. } => {
                "`banger daemon restart` puts the installed daemon in its place; VMs go on"
            }
        };
        vec![hint.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_own_words_are_passed_on() {
        let body = ErrorBody::plain(ErrorCode::NameTaken, "taken").hint("choose another");
        let error = ClientError::Api(Box::new(body.clone()));
        assert_eq!((error.code(), error.hints()), (ErrorCode::NameTaken, body.hints.clone()));
        assert_eq!(error.into_body(), body);
    }

    #[test]
    fn a_daemon_of_another_api_is_refused() {
        let mut daemon = crate::build::this_program();
        assert!(ClientError::check_api(&daemon).is_ok());
        daemon.api += 1;
        let error = ClientError::check_api(&daemon).unwrap_err();
        assert_eq!(error.code(), ErrorCode::VersionMismatch);
    }
}
