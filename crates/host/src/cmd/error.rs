//! How running a program can fail, and which package has which program.

use crate::Exit;
use banger_core::error::{ErrorCode, Explain};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program that did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum CmdError {
    /// There is no such program.
    #[error("`{}` is not installed", .program.display())]
    NotFound {
        /// Its name or path as asked for.
        program: PathBuf,
    },
    /// It could not be started.
    #[error("could not start `{}`", .program.display())]
    Spawn {
        /// Its path.
        program: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Talking to it failed.
    #[error("could not follow `{}`", .argv.join(" "))]
    Pipe {
        /// Program and arguments.
        argv: Vec<String>,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It ended with something else than exit code 0.
    #[error("`{}` ended with {exit}{}", .argv.join(" "), after_colon(.stderr_tail))]
    Failed {
        /// Program and arguments.
        argv: Vec<String>,
        /// How it ended.
        exit: Exit,
        /// The last 20 lines of its standard error.
        stderr_tail: String,
    },
    /// It was killed because it took too long.
    #[error("`{}` did not end within {limit:?}{}", .argv.join(" "), after_colon(.stderr_tail))]
    TimedOut {
        /// Program and arguments.
        argv: Vec<String>,
        /// The limit.
        limit: Duration,
        /// The last 20 lines of its standard error.
        stderr_tail: String,
    },
    /// It was killed because its result was no longer wanted.
    #[error("`{}` was cancelled", .argv.join(" "))]
    Cancelled {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

fn after_colon(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!(": {}", tail.replace('\n', " | ")) }
}

impl CmdError {
    /// The last lines of the program's standard error, if it ran.
    pub fn stderr_tail(&self) -> Option<&str> {
        match self {
            Self::Failed { stderr_tail, .. } | Self::TimedOut { stderr_tail, .. } => {
                Some(stderr_tail)
            }
            _ => None,
        }
    }
}

impl Explain for CmdError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::MissingDependency,
            Self::Spawn { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorCode::MissingDependency,
                io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
                _ => ErrorCode::Host,
            },
            Self::Failed { stderr_tail, .. } => code_of_message(stderr_tail),
            Self::TimedOut { .. } => ErrorCode::Timeout,
            Self::Cancelled { .. } => ErrorCode::Interrupted,
            Self::Pipe { .. } => ErrorCode::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        match (self, self.code()) {
            (Self::NotFound { program } | Self::Spawn { program, .. }, _) => {
                debian_package(program)
                    .map(|package| format!("install the Debian package `{package}`"))
                    .into_iter()
                    .collect()
            }
            (_, ErrorCode::NoSpace) => {
                vec!["free some room, or delete VMs with `banger vm delete`".to_owned()]
            }
            (_, ErrorCode::NotPermitted) => vec!["run the daemon as root".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// What the C library's messages say about the cause; programs run with `LC_ALL=C`.
fn code_of_message(stderr: &str) -> ErrorCode {
    let says = |text: &str| stderr.contains(text);
    if says("No space left on device") || says("Disk quota exceeded") {
        ErrorCode::NoSpace
    } else if says("Operation not permitted") || says("Permission denied") {
        ErrorCode::NotPermitted
    } else {
        ErrorCode::Host
    }
}

/// The Debian 12 package that has the program, for those that banger starts.
pub fn debian_package(program: &Path) -> Option<&'static str> {
    const PACKAGES: [(&str, &str); 23] = [
        ("apt-get", "apt"),
        ("cp", "coreutils"),
        ("depmod", "kmod"),
        ("dmsetup", "dmsetup"),
        ("dpkg", "dpkg"),
        ("dpkg-deb", "dpkg"),
        ("e2fsck", "e2fsprogs"),
        ("ip", "iproute2"),
        ("iptables-legacy", "iptables"),
        ("iptables-legacy-restore", "iptables"),
        ("iptables-nft", "iptables"),
        ("iptables-nft-restore", "iptables"),
        ("mke2fs", "e2fsprogs"),
        ("mmdebstrap", "mmdebstrap"),
        ("modprobe", "kmod"),
        ("nft", "nftables"),
        ("qemu-img", "qemu-utils"),
        ("qemu-system-aarch64", "qemu-system-arm"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("ssh", "openssh-client"),
        ("tar", "tar"),
        ("unshare", "util-linux"),
        ("zstd", "zstd"),
    ];
    let name = program.file_name()?.to_str()?;
    PACKAGES.iter().find(|(known, _)| *known == name).map(|(_, package)| *package)
}
