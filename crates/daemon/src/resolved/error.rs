//! Why names of VMs are not given to the host's programs.

use banger_core::error::{ErrorCode, Explain};
use std::io;

/// Why the integration was not switched.
#[derive(Debug, thiserror::Error)]
pub enum HostDnsError {
    /// This daemon has none.
    #[error("names of VMs are not given to the host's resolver: {because}")]
    NotHere {
        /// Why.
        because: String,
    },
    /// What the user wants could not be written down.
    #[error("could not keep whether systemd-resolved is to know VMs' names")]
    Keep(#[source] io::Error),
    /// There is no resolved to tell.
    #[error("systemd-resolved cannot be told of VMs' names: {problem}")]
    Absent {
        /// In what way.
        problem: String,
        /// What can be done instead.
        hint: Option<String>,
    },
    /// It does not take it.
    #[error("systemd-resolved does not take VMs' names: {problem}")]
    Failed {
        /// What it said.
        problem: String,
    },
}

impl Explain for HostDnsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotHere { .. } => ErrorCode::InvalidConfig,
            Self::Keep(error) if error.kind() == io::ErrorKind::StorageFull => ErrorCode::NoSpace,
            Self::Keep(_) | Self::Failed { .. } => ErrorCode::Host,
            Self::Absent { .. } => ErrorCode::MissingDependency,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotHere { .. } => {
                vec!["`banger dns status` tells how names are answered for".to_owned()]
            }
            Self::Absent { hint, .. } => hint.iter().cloned().collect(),
            Self::Failed { .. } => vec![
                "the daemon tries again; `journalctl -u systemd-resolved` has the other side"
                    .to_owned(),
            ],
            Self::Keep(_) => Vec::new(),
        }
    }
}
