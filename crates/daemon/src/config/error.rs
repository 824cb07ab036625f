//! Why a configuration is refused.

use super::key::Key;
use super::source::Origin;
use banger_core::error::{ErrorCode, Explain};
use banger_core::names::IfNameError;
use banger_core::net::SubnetError;
use banger_core::spec::SpecError;
use banger_core::unit::{SizeError, VcpuError};
use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the configuration file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("`{}` is not valid TOML in line {line}: {problem}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {origin}")]
    UnknownKey {
        /// The key as given.
        key: String,
        /// Where it is.
        origin: Origin,
        /// What was meant, perhaps.
        nearest: Option<Key>,
    },
    /// A value of another type.
    #[error("`{key}` in {origin} is {found}, and must be {expected}")]
    Type {
        /// The key.
        key: Key,
        /// Where it is.
        origin: Origin,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value that cannot be.
    #[error("cannot use the value of `{key}` in {origin}")]
    Value {
        /// The key.
        key: Key,
        /// Where it is.
        origin: Origin,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Not a number of processors.
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
    /// Outside the limits.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Not a subnet.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// Not an interface's name.
    #[error(transparent)]
    Interface(#[from] IfNameError),
    /// Not one of a few words.
    #[error("`{text}` is none of {allowed}")]
    Word {
        /// The text that was refused.
        text: String,
        /// The words.
        allowed: String,
    },
    /// Not a number.
    #[error("`{text}` is not a whole number from 0")]
    Count {
        /// The text that was refused.
        text: String,
    },
    /// Not a path that means the same everywhere.
    #[error("`{text}` is not an absolute path")]
    Path {
        /// The text that was refused.
        text: String,
    },
    /// Not an address to listen on.
    #[error("`{text}` is not `off` nor an address with a port, such as `127.0.0.1:42069`")]
    Listen {
        /// The text that was refused.
        text: String,
    },
    /// An address that others can reach.
    #[error("`{text}` is not an address of this machine alone, such as `127.0.0.1:9469`")]
    NotLoopback {
        /// The text that was refused.
        text: String,
    },
    /// Not a choice of whom guests ask.
    #[error("`{text}` is none of `auto`, `off` and an IPv4 address")]
    GuestDns {
        /// The text that was refused.
        text: String,
    },
    /// Not a time in seconds.
    #[error("`{text}` is not a number of seconds from 0 to {max}")]
    Seconds {
        /// The text that was refused.
        text: String,
        /// The longest time.
        max: u32,
    },
    /// Not a name server.
    #[error("`{text}` is not an IPv4 address")]
    Nameserver {
        /// The text that was refused.
        text: String,
    },
}

impl Explain for ConfigError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidConfig
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownKey { nearest: Some(key), .. } => vec![format!("did you mean `{key}`?")],
            Self::UnknownKey { nearest: None, .. } => {
                let keys: Vec<String> = Key::ALL.iter().map(|key| format!("`{key}`")).collect();
                vec![format!("the known keys are {}", keys.join(", "))]
            }
            _ => Vec::new(),
        }
    }
}
