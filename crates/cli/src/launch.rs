//! The only place of this program that starts others: `ssh`, and `bangerd` when none runs.
//!
//! No shell is involved: arguments go as they are.

use banger_core::error::{ErrorCode, Explain};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// OpenSSH's client, looked for along `PATH`.
const SSH: &str = "ssh";

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// It is not there.
    #[error("there is no program `{program}`")]
    Missing {
        /// Its name.
        program: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The system refused.
    #[error("`{}` could not be started", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LaunchError {
    /// There is no `bangerd`.
    pub(crate) fn no_daemon() -> Self {
        Self::Missing {
            program: "bangerd".to_owned(),
            hint: "install `bangerd` beside `banger`, or in a directory of `PATH`",
        }
    }

    fn no_ssh() -> Self {
        let hint = "install OpenSSH's client: on Debian, the package `openssh-client`";
        Self::Missing { program: SSH.to_owned(), hint }
    }

    fn of_ssh(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            return Self::no_ssh();
        }
        Self::Start { program: PathBuf::from(SSH), source }
    }
}

impl Explain for LaunchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } => ErrorCode::MissingDependency,
            Self::Start { .. } => ErrorCode::NotPermitted,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { hint, .. } => vec![(*hint).to_owned()],
            Self::Start { .. } => Vec::new(),
        }
    }
}

/// The door.
#[expect(clippy::disallowed_methods, reason = "the one place of the client that starts programs")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

/// Turns this process into ssh. It returns only when that fails.
pub(crate) fn become_ssh(args: &[OsString]) -> LaunchError {
    LaunchError::of_ssh(command(Path::new(SSH)).args(args).exec())
}

/// Starts ssh on this process's terminal. What it writes to its standard output goes to `output`.
pub(crate) fn start_ssh(
    args: &[OsString],
    output: Stdio,
) -> Result<tokio::process::Child, LaunchError> {
    let mut command = command(Path::new(SSH));
    command.args(args).stdout(output);
    tokio::process::Command::from(command).spawn().map_err(LaunchError::of_ssh)
}

/// Runs ssh to its end without this process's terminal, and keeps what it said. It ends with the
/// wait for it.
pub(crate) async fn ask_ssh(args: &[OsString]) -> Result<Output, LaunchError> {
    let mut command = command(Path::new(SSH));
    command.args(args).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).output().await.map_err(LaunchError::of_ssh)
}

/// Starts the daemon so that it outlives this process and its terminal: a session of its own,
/// working directory `/`, no input, no output but what it says before its log is open.
pub(crate) fn start_daemon(
    program: &Path,
    state_dir: Option<&Path>,
    stderr: File,
) -> Result<Child, LaunchError> {
    let mut command = command(program);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    if let Some(dir) = state_dir {
        command.env("BANGER_STATE_DIR", dir);
    }
    // SAFETY: `detach` runs between fork and exec and makes one system call; it neither allocates
    // nor takes a lock.
    #[expect(unsafe_code, reason = "a session is made in the child")]
    unsafe {
        command.pre_exec(detach);
    }
    command.spawn().map_err(|source| LaunchError::Start { program: program.to_owned(), source })
}

/// Runs in the child.
fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Finds `bangerd`: beside this program, else along `PATH`.
pub(crate) fn find_daemon() -> Option<PathBuf> {
    find("bangerd", std::env::current_exe().ok().as_deref())
}

/// Refuses what would need ssh in vain.
pub(crate) fn check_ssh() -> Result<(), LaunchError> {
    find_ssh().map(drop).ok_or_else(LaunchError::no_ssh)
}

/// Finds `ssh` along `PATH`.
pub(crate) fn find_ssh() -> Option<PathBuf> {
    find(SSH, None)
}

fn find(name: &str, sibling: Option<&Path>) -> Option<PathBuf> {
    let beside = sibling.and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = beside.into_iter().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}
