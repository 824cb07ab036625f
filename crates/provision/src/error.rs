//! What can go wrong in a session with a guest.

use crate::guest::Exit;
use banger_core::error::{ErrorCode, Explain};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why no program could be run in a guest, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A key cannot be read.
    #[error("the {which} is no ssh key that can be used")]
    Key {
        /// Whose it is.
        which: &'static str,
        /// What is wrong with it.
        #[source]
        source: russh::keys::ssh_key::Error,
    },
    /// No connection came to be.
    #[error("could not open an ssh connection to `{address}`")]
    Connect {
        /// The guest.
        address: SocketAddr,
        /// The reason.
        #[source]
        source: russh::Error,
    },
    /// It is another machine that answers.
    #[error("what answers at `{address}` has the host key {found}, and not {expected}")]
    HostKey {
        /// The guest.
        address: SocketAddr,
        /// The fingerprint of the key that the guest was given.
        expected: String,
        /// The fingerprint of the one that was shown.
        found: String,
    },
    /// The guest does not take the key.
    #[error("the guest at `{address}` does not let the key in")]
    Refused {
        /// The guest.
        address: SocketAddr,
    },
    /// The guest does not answer.
    #[error("the guest at `{address}` did not answer within {seconds} s")]
    NoAnswer {
        /// The guest.
        address: SocketAddr,
        /// The limit.
        seconds: u64,
    },
    /// The connection ended before the program did.
    #[error("the connection broke off while `{command}` ran")]
    Broken {
        /// The program.
        command: String,
        /// The reason, where there is one.
        #[source]
        source: Option<russh::Error>,
    },
    /// The program takes too long.
    #[error("`{command}` has not ended within {seconds} s")]
    TimedOut {
        /// The program.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// What the program should read cannot be made.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// It writes more than can be kept.
    #[error("`{command}` prints more than {most} bytes")]
    TooMuch {
        /// The program.
        command: String,
        /// The most that is kept.
        most: usize,
    },
}

/// A file of the host's that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("could not send `{}`", .path.display())]
pub struct UploadError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    #[source]
    pub source: io::Error,
}

/// A directory that holds no kernel modules.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// It cannot be read.
    #[error("could not read the modules in `{}`", .path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There are none in it.
    #[error("`{}` holds no kernel modules", .path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// It has modules, and nothing tells for which kernel.
    #[error("the name of `{}` is not the release of a kernel", .path.display())]
    Name {
        /// The directory.
        path: PathBuf,
    },
}

/// Why a guest could not be made an image.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A program could not be run to its end.
    #[error("could not {action}")]
    Session {
        /// What was being attempted.
        action: String,
        /// The reason.
        #[source]
        source: SessionError,
    },
    /// A program ended badly.
    #[error("could not {action}: `{command}` ended with {exit}")]
    Failed {
        /// What was being attempted.
        action: String,
        /// The program.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The last lines that it said.
        tail: Vec<String>,
    },
    /// None of the known package managers is there.
    #[error("the guest has no package manager that banger knows")]
    NoManager,
    /// There are no modules.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// A file of the host's cannot be read.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A place in the guest is none.
    #[error("`{path}` is no place in a guest: give an absolute path without `..`")]
    Place {
        /// As it was given.
        path: String,
    },
}

impl ProvisionError {
    /// The last lines of the program that failed.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } => tail,
            _ => &[],
        }
    }

    /// Whether the guest's disk is full.
    pub fn is_disk_full(&self) -> bool {
        // ENOSPC in words, as the C library, dpkg, tar and Python have them.
        self.tail().iter().any(|line| {
            line.contains("No space left on device")
                || line.contains("You don't have enough free space")
        })
    }
}

impl Explain for ProvisionError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoManager | Self::Failed { .. } | Self::Session { .. } => ErrorCode::GuestFailed,
            Self::Modules(_) | Self::Upload(_) | Self::Place { .. } => ErrorCode::InvalidRequest,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Failed { .. } if self.is_disk_full() => {
                vec!["the guest's disk is full: give the image more room with `--size`".to_owned()]
            }
            Self::NoManager => vec![
                "banger knows apt, apk, dnf and pacman; install by `--script` and `--copy` instead"
                    .to_owned(),
            ],
            Self::Modules(_) => vec![
                "give a directory such as `/lib/modules/6.1.0-18-amd64`, or a root that has it"
                    .to_owned(),
            ],
            Self::Session { source: SessionError::HostKey { .. }, .. } => {
                vec!["another machine has the guest's address".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
