//! Why the daemon does not start.

use crate::config::ConfigError;
use crate::lock::LockError;
use crate::logging::LogError;
use crate::requirement::Missing;
use crate::socket::PlaceError;
use banger_core::dirs::DirsError;
use banger_core::error::{ErrorCode, Explain};
use banger_core::names::LayoutError;
use banger_engine::EngineError;
use banger_host::HostError;
use std::io;
use std::path::PathBuf;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directories cannot be told.
    #[error(transparent)]
    Dirs(#[from] DirsError),
    /// The directories cannot serve.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A directory or the socket cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Another daemon is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There can be no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A simulation of VMs that are real would take their records for its own.
    #[error("`{}` has the records of real VMs, and a simulation needs a directory of its own", .state_dir.display())]
    RealState {
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The VMs of a simulation are not on this host.
    #[error("`{}` has the records of a simulation", .state_dir.display())]
    SimulatedState {
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The simulator cannot be opened.
    #[error("could not open the simulated host")]
    Simulator(#[from] HostError),
    /// The engine cannot be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The runtime cannot be made.
    #[error("could not start the daemon's threads")]
    Runtime(#[source] io::Error),
    /// Signals cannot be received.
    #[error("could not listen for signals")]
    Signals(#[source] io::Error),
    /// The daemon does not know its own program.
    #[error("could not find the daemon's own program")]
    Program(#[source] io::Error),
}

fn code_of_io(source: &io::Error) -> ErrorCode {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
        _ => ErrorCode::Host,
    }
}

impl Explain for StartError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Dirs(_)
            | Self::Layout(_)
            | Self::RealState { .. }
            | Self::SimulatedState { .. } => ErrorCode::InvalidConfig,
            Self::Config(error) => error.code(),
            Self::Place(error) => error.code(),
            Self::Lock(error) => error.code(),
            Self::Log(error) => code_of_io(&error.source),
            Self::Missing(error) => error.code(),
            Self::Simulator(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Runtime(_) | Self::Signals(_) | Self::Program(_) => ErrorCode::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Dirs(error) => error.hints(),
            Self::RealState { .. } | Self::SimulatedState { .. } => {
                vec!["set `BANGER_STATE_DIR` to another directory".to_owned()]
            }
            Self::Config(error) => error.hints(),
            Self::Place(error) => error.hints(),
            Self::Lock(error) => error.hints(),
            Self::Missing(error) => error.hints(),
            Self::Simulator(error) => error.hints(),
            Self::Engine(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

impl Explain for PlaceError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Io { source, .. } => code_of_io(source),
            Self::Owner { .. } | Self::Open { .. } | Self::NoDirectory { .. } => {
                ErrorCode::NotPermitted
            }
            Self::Busy { .. } => ErrorCode::AlreadyRunning,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Open { path, .. } => vec![format!(
                "`chmod 700 {}`, or set `BANGER_RUNTIME_DIR` to another directory",
                path.display()
            )],
            Self::Owner { .. } | Self::NoDirectory { .. } | Self::Busy { .. } => {
                vec!["set `BANGER_RUNTIME_DIR` to another directory".to_owned()]
            }
            Self::Io { .. } => Vec::new(),
        }
    }
}

impl Explain for LockError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Held { .. } => ErrorCode::AlreadyRunning,
            Self::File { source, .. } => code_of_io(source),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Held { .. } => vec![
                "`banger daemon stop` ends it; VMs go on running".to_owned(),
                "set `BANGER_STATE_DIR` and `BANGER_RUNTIME_DIR` for a daemon of its own"
                    .to_owned(),
            ],
            Self::File { .. } => Vec::new(),
        }
    }
}
