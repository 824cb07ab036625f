//! A guest as far as programs can be run in it.

use crate::call::Call;
use crate::error::SessionError;
use async_trait::async_trait;
use std::fmt;

/// Takes lines as they come, without their ends.
pub type LineSink<'a> = dyn FnMut(&str) + Send + 'a;

/// A guest in which programs can be run.
#[async_trait]
pub trait Guest: Send + Sync + fmt::Debug {
    /// Runs a program to its end. What it says goes to `lines` as it comes.
    ///
    /// # Errors
    ///
    /// When it could not be run to its end. That it ended badly is no error here.
    async fn run(&self, call: Call, lines: &mut LineSink<'_>) -> Result<Ended, SessionError>;
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// What it wrote to its standard output, if the call keeps that.
    pub stdout: Vec<u8>,
    /// The last lines of all that it said.
    pub tail: Vec<String>,
}

/// How a program in a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(u32),
    /// By a signal, by its name without `SIG`.
    Signal(String),
}

impl Exit {
    /// Whether it is exit code 0.
    pub fn is_good(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(name) => write!(f, "signal SIG{name}"),
        }
    }
}
