//! What can go wrong on the way to a daemon.

use crate::launch::LaunchError;
use banger_api::ErrorBody;
use banger_api::client::ClientError;
use banger_core::error::{ErrorCode, Explain};
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no daemon to talk to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// There is one, and it cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The directory of the socket cannot be used.
    #[error("`{}` could not be made ready for the daemon", path.display())]
    RuntimeDir {
        /// The directory, or a file in it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended instead of listening.
    #[error("the daemon did not start: it ended with {status}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// It neither listens nor ends.
    #[error("the daemon was started and does not answer after {seconds} s")]
    Silent {
        /// How long it had.
        seconds: u64,
        /// What it said.
        said: String,
    },
    /// It was told to end and does not.
    #[error("the daemon was told to end and still runs after {seconds} s")]
    StillRuns {
        /// How long it had.
        seconds: i64,
    },
}

impl ConnectError {
    /// The error in the one shape of the wire. What a daemon said before it ended is the cause.
    pub(crate) fn into_body(self) -> ErrorBody {
        match self {
            Self::Client(error) => error.into_body(),
            Self::Ended { ref said, .. } | Self::Silent { ref said, .. } => {
                with_words(ErrorBody::of(&self), said)
            }
            other => ErrorBody::of(&other),
        }
    }
}

impl Explain for ConnectError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Client(error) => error.code(),
            Self::Launch(error) => error.code(),
            Self::RuntimeDir { .. } => ErrorCode::NotPermitted,
            Self::Ended { .. } | Self::Silent { .. } => ErrorCode::DaemonUnreachable,
            Self::StillRuns { .. } => ErrorCode::Timeout,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Client(error) => return error.hints(),
            Self::Launch(error) => return error.hints(),
            Self::RuntimeDir { .. } => "set `BANGER_RUNTIME_DIR` to a directory of your own",
            // It said why, and what to do about it where it knows.
            Self::Ended { said, .. } if !said.trim().is_empty() => return Vec::new(),
            Self::Ended { .. } | Self::Silent { .. } | Self::StillRuns { .. } => {
                "`banger daemon logs` shows what happened"
            }
        };
        vec![hint.to_owned()]
    }
}

/// Sorts what a daemon printed into causes and hints.
fn with_words(mut body: ErrorBody, said: &str) -> ErrorBody {
    let mut hints = Vec::new();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(hint) = line.strip_prefix("hint: ") {
            hints.push(hint.to_owned());
        } else if let Some(cause) =
            line.strip_prefix("error: ").or_else(|| line.strip_prefix("caused by: "))
        {
            body.causes.push(cause.to_owned());
        } else if let Some(cause) = body.causes.last_mut() {
            cause.push('\n');
            cause.push_str(line.trim());
        } else {
            body.causes.push(line.to_owned());
        }
    }
    hints.append(&mut body.hints);
    ErrorBody { hints, ..body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_last_words_become_causes_and_hints() {
        let body = ErrorBody::plain(ErrorCode::DaemonUnreachable, "it ended").hint("look");
        let said = "error: no\ncaused by: deep\n  and deeper\nhint: mend it\n";
        let body = with_words(body, said);
        assert_eq!(body.causes, ["no", "deep\nand deeper"]);
        assert_eq!(body.hints, ["mend it", "look"]);
    }
}
