//! What goes wrong between a driver and its VMM.

use banger_core::error::{ErrorCode, Explain};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// A VMM that cannot be reached, does not answer, or answers with a refusal.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// Nobody listens on the control socket.
    #[error("cannot connect to the VMM's control socket `{}`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The VMM accepts connections but stays silent.
    #[error("the VMM did not answer `{request}` within {waited:?}")]
    Timeout {
        /// What was asked.
        request: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The VMM understood the request and will not do it.
    #[error("the VMM refused `{request}` ({status}): {message}")]
    Refused {
        /// What was asked.
        request: String,
        /// The kind of refusal: an HTTP status, or the class of a QMP error.
        status: String,
        /// The VMM's own words.
        message: String,
    },
    /// The answer is not in the VMM's language.
    #[error("the VMM's answer to `{request}` makes no sense: {answer}")]
    Protocol {
        /// What was asked.
        request: String,
        /// What came, shortened.
        answer: String,
        /// What is wrong with it, where a parser says so.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The VMM went away, or hung up.
    #[error("the VMM closed its control socket before it answered `{request}`")]
    Closed {
        /// What was asked.
        request: String,
        /// What the connection reported, if it did not just end.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl VmmError {
    /// An answer that does not fit the protocol. Long answers are cut.
    pub(crate) fn protocol(
        request: &str,
        answer: &[u8],
        source: Option<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Protocol { request: request.to_owned(), answer: excerpt(answer), source }
    }
}

/// At most this many bytes of a strange answer are worth a reader's time.
const EXCERPT: usize = 200;

/// The start of an answer, as a Rust literal so that control characters stay harmless.
pub(crate) fn excerpt(answer: &[u8]) -> String {
    let end = answer.len().min(EXCERPT);
    let text = String::from_utf8_lossy(&answer[..end]);
    let rest = if end < answer.len() { "…" } else { "" };
    format!("{text:?}{rest}")
}

impl Explain for VmmError {
    fn code(&self) -> ErrorCode {
        ErrorCode::Vmm
    }

    fn hints(&self) -> Vec<String> {
        let log = "read the end of the VM's `vmm.log`: the VMM's own messages are there";
        let own: &[&str] = match self {
            Self::Connect { .. } | Self::Closed { .. } => &[log],
            Self::Timeout { .. } => {
                &["try again when the machine is less busy: the VMM is there but stays silent", log]
            }
            Self::Refused { message, .. } if message.to_lowercase().contains("kvm") => {
                &["run `banger doctor`: it says whether KVM can be used here", log]
            }
            Self::Refused { .. } => &[log],
            Self::Protocol { .. } => {
                &["check that the configured VMM program is the right one", log]
            }
        };
        own.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_answer_is_shown_cut_and_without_control_characters() {
        let error = VmmError::protocol("query-status", "\u{1b}[2J\n".repeat(99).as_bytes(), None);
        let text = error.to_string();
        assert!(text.len() < 600 && text.ends_with('…'), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_refusal_for_want_of_kvm_points_to_the_doctor() {
        let refused = |message: &str| VmmError::Refused {
            request: "PUT /actions".to_owned(),
            status: "400".to_owned(),
            message: message.to_owned(),
        };
        assert!(refused("Cannot open /dev/kvm").hints()[0].contains("banger doctor"));
        assert!(refused("no such drive").hints()[0].contains("vmm.log"));
    }

    #[test]
    fn the_cause_is_not_in_the_text() {
        let error = VmmError::Connect {
            path: "/run/x.sock".into(),
            source: std::io::Error::from(std::io::ErrorKind::ConnectionRefused),
        };
        assert_eq!(error.to_string(), "cannot connect to the VMM's control socket `/run/x.sock`");
        assert!(error.source().is_some());
    }
}
