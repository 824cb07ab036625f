//! What every error owes its reader: a stable code and, where there is one, a remedy.

mod manual;

pub use manual::render_manual;

use serde::{Deserialize, Serialize};
use std::fmt;

/// The closed list of error codes; a code is never reused. `docs/errors.md` is made from their
/// meanings and remedies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is wrong: a bad name, size, flag or body.
    InvalidRequest,
    /// No VM answers to the given reference.
    VmNotFound,
    /// A prefix fits several VMs.
    AmbiguousReference,
    /// Another VM has the name.
    NameTaken,
    /// The VM's state does not allow the request.
    WrongState,
    /// Another operation on the VM came first and ended this one.
    Interrupted,
    /// No image answers to the given reference.
    ImageNotFound,
    /// VMs or the runtime bundle need the image.
    ImageInUse,
    /// One of the image's files is missing or unusable.
    ImageUnusable,
    /// The runtime bundle is missing or broken, or cannot be built or fetched.
    BundleUnusable,
    /// The configuration file or an environment variable is wrong.
    InvalidConfig,
    /// Every address of the subnet is taken.
    SubnetExhausted,
    /// The bridge's name or address belongs to something else on the host.
    NetworkConflict,
    /// The file system that holds the state has no room left.
    NoSpace,
    /// The daemon lacks a privilege that the operation needs.
    NotPermitted,
    /// A program, device or kernel feature that is needed is not there.
    MissingDependency,
    /// A change of the host failed for another reason.
    Host,
    /// The VMM did not start, refused a request or died.
    Vmm,
    /// The guest reported that its boot failed, or panicked.
    GuestFailed,
    /// A wait ran out; the message says what was reached.
    Timeout,
    /// Another daemon serves this state directory.
    AlreadyRunning,
    /// The daemon cannot be reached.
    DaemonUnreachable,
    /// The daemon and the client speak different versions of the API.
    VersionMismatch,
    /// A defect in banger.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 24] = [
        Self::InvalidRequest,
        Self::VmNotFound,
        Self::AmbiguousReference,
        Self::NameTaken,
        Self::WrongState,
        Self::Interrupted,
        Self::ImageNotFound,
        Self::ImageInUse,
        Self::ImageUnusable,
        Self::BundleUnusable,
        Self::InvalidConfig,
        Self::SubnetExhausted,
        Self::NetworkConflict,
        Self::NoSpace,
        Self::NotPermitted,
        Self::MissingDependency,
        Self::Host,
        Self::Vmm,
        Self::GuestFailed,
        Self::Timeout,
        Self::AlreadyRunning,
        Self::DaemonUnreachable,
        Self::VersionMismatch,
        Self::Internal,
    ];

    /// The code as it is on the wire, in `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::VmNotFound => "vm_not_found",
            Self::AmbiguousReference => "ambiguous_reference",
            Self::NameTaken => "name_taken",
            Self::WrongState => "wrong_state",
            Self::Interrupted => "interrupted",
            Self::ImageNotFound => "image_not_found",
            Self::ImageInUse => "image_in_use",
            Self::ImageUnusable => "image_unusable",
            Self::BundleUnusable => "bundle_unusable",
            Self::InvalidConfig => "invalid_config",
            Self::SubnetExhausted => "subnet_exhausted",
            Self::NetworkConflict => "network_conflict",
            Self::NoSpace => "no_space",
            Self::NotPermitted => "not_permitted",
            Self::MissingDependency => "missing_dependency",
            Self::Host => "host",
            Self::Vmm => "vmm",
            Self::GuestFailed => "guest_failed",
            Self::Timeout => "timeout",
            Self::AlreadyRunning => "already_running",
            Self::DaemonUnreachable => "daemon_unreachable",
            Self::VersionMismatch => "version_mismatch",
            Self::Internal => "internal",
        }
    }

    /// The exit code of a command that ends with this error: 1 where the user can mend it, 2 where
    /// they cannot.
    pub fn exit_code(self) -> u8 {
        if self == Self::Internal { 2 } else { 1 }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows its code and its remedy. It is implemented in the crate that knows both.
pub trait Explain: std::error::Error {
    /// The error's place in the closed list.
    fn code(&self) -> ErrorCode;

    /// What the user can do, one sentence each, most useful first.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An error as a field of a log line, where its causes become fields too.
pub fn fault<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    error
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_and_the_serialised_form_are_the_same() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
