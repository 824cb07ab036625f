//! Why a verb could not be carried out.

use crate::cmd::CmdError;
use banger_core::error::{ErrorCode, Explain};
use banger_core::unit::Bytes;
use std::io;
use std::path::PathBuf;

/// A change of the host, or a question to it, that failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A system call on a file, device or interface failed.
    #[error("could not {action} `{object}`")]
    Io {
        /// What was being attempted, as a verb: `create the directory`.
        action: &'static str,
        /// The path, interface or device.
        object: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("could not {action} `{object}`")]
    Program {
        /// What was being attempted, as a verb.
        action: &'static str,
        /// The path, table or device.
        object: String,
        /// How the program ended.
        #[source]
        source: CmdError,
    },
    /// The name is there, and is somebody else's.
    #[error("`{object}` exists and is not this daemon's")]
    Foreign {
        /// The interface, file or device.
        object: String,
    },
    /// The bridge's subnet meets an address that another interface has.
    #[error("the bridge address {address} is in use: `{interface}` has {other}")]
    AddressInUse {
        /// What the bridge should have.
        address: String,
        /// Who has it, or one of its subnet.
        interface: String,
        /// What that interface has.
        other: String,
    },
    /// A disk would lose its end.
    #[error("`{}` measures {is} and cannot shrink to {wanted}", .path.display())]
    Shrink {
        /// The disk.
        path: PathBuf,
        /// Its size.
        is: Bytes,
        /// The size that was asked for.
        wanted: Bytes,
    },
    /// The VMM ended before its API socket answered.
    #[error("`{}` ended at once with {exit}{}", .program.display(), tail(.log_tail))]
    VmmDied {
        /// The program.
        program: PathBuf,
        /// How it ended.
        exit: crate::Exit,
        /// The last lines of its output.
        log_tail: Vec<String>,
        /// The whole output.
        log_path: PathBuf,
    },
    /// The VMM did not open its API socket in time.
    #[error("`{}` did not open its API socket within {seconds} s", .program.display())]
    VmmSilent {
        /// The program.
        program: PathBuf,
        /// The limit.
        seconds: u64,
        /// Its output.
        log_path: PathBuf,
    },
    /// The simulator was told to fail here.
    #[error("simulated fault: {action} `{object}`")]
    Injected {
        /// `ensure` or `remove`.
        action: &'static str,
        /// The object.
        object: String,
    },
    /// A kernel feature that the resource needs is not there.
    #[error("{feature} cannot be used: {reason}")]
    Unavailable {
        /// The feature, as a noun phrase: `device-mapper`.
        feature: &'static str,
        /// What was found.
        reason: String,
        /// What the user can do.
        remedy: &'static str,
    },
    /// A resource names a path that is not one of this instance's.
    #[error("`{}` is not below this instance's directories", .path.display())]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// The kernel or simulator refused for a reason of its own.
    #[error("could not {action} `{object}`: {reason}")]
    Refused {
        /// What was being attempted.
        action: &'static str,
        /// The object.
        object: String,
        /// Why not.
        reason: String,
    },
}

fn tail(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!("; it said: {}", lines.join(" | ")) }
}

impl HostError {
    /// Turns a system call's error into [`HostError::Io`]: for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        object: impl std::fmt::Display,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, object: object.to_string(), source: source.into() }
    }

    /// Turns a program's failure into [`HostError::Program`]: for `map_err`.
    pub(crate) fn program(
        action: &'static str,
        object: impl std::fmt::Display,
    ) -> impl FnOnce(CmdError) -> Self {
        move |source| Self::Program { action, object: object.to_string(), source }
    }

    /// The file with the raw output, where there is one.
    pub fn log_path(&self) -> Option<&PathBuf> {
        match self {
            Self::VmmDied { log_path, .. } | Self::VmmSilent { log_path, .. } => Some(log_path),
            _ => None,
        }
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

impl Explain for HostError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } => match self.io_kind() {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    ErrorCode::NoSpace
                }
                Some(io::ErrorKind::PermissionDenied) => ErrorCode::NotPermitted,
                _ => ErrorCode::Host,
            },
            Self::Program { source, .. } => source.code(),
            Self::Foreign { .. } | Self::AddressInUse { .. } => ErrorCode::NetworkConflict,
            Self::Shrink { .. } => ErrorCode::InvalidRequest,
            Self::VmmDied { .. } | Self::VmmSilent { .. } => ErrorCode::Vmm,
            Self::Unavailable { .. } => ErrorCode::MissingDependency,
            Self::Outside { .. } => ErrorCode::Internal,
            Self::Injected { .. } | Self::Refused { .. } => ErrorCode::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = |text: &str| vec![text.to_owned()];
        match (self, self.code()) {
            (Self::Program { source, .. }, _) => source.hints(),
            (Self::Unavailable { remedy, .. }, _) => hint(remedy),
            (_, ErrorCode::NoSpace) => {
                hint("free some room, or delete VMs with `banger vm delete`")
            }
            (_, ErrorCode::NotPermitted) => hint("run the daemon as root"),
            (Self::Foreign { .. } | Self::AddressInUse { .. }, _) => {
                hint("set another `bridge` and `subnet` in the configuration file")
            }
            (Self::VmmDied { log_path, .. } | Self::VmmSilent { log_path, .. }, _) => {
                vec![format!("the VMM's whole output is in {}", log_path.display())]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_refusals_have_codes_and_remedies_of_their_own() {
        let failed = |errno| HostError::io("create", "/x")(io::Error::from_raw_os_error(errno));
        for (errno, code) in [
            (libc::EPERM, ErrorCode::NotPermitted),
            (libc::EACCES, ErrorCode::NotPermitted),
            (libc::ENOSPC, ErrorCode::NoSpace),
            (libc::EDQUOT, ErrorCode::NoSpace),
        ] {
            let error = failed(errno);
            assert_eq!((error.code(), error.hints().len()), (code, 1), "{error:?}");
        }
        assert_eq!(failed(libc::EIO).code(), ErrorCode::Host);
    }

    #[test]
    fn a_programs_complaint_keeps_its_code() {
        let full = CmdError::Failed {
            argv: vec!["mke2fs".into()],
            exit: crate::Exit::Code(1),
            stderr_tail: "mke2fs: No space left on device".into(),
        };
        let error = HostError::program("make a file system in", "/x")(full);
        assert_eq!(error.code(), ErrorCode::NoSpace);
        assert_eq!(error.to_string(), "could not make a file system in `/x`");
    }
}
