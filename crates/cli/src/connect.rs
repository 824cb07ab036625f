//! Finding the daemon: connecting to it, starting it, replacing one of another build.
//!
//! A daemon is stale when the file it runs is not the file that would be started now. That is asked
//! of the kernel and not of the daemon, so that it also holds for a daemon of a version that nobody
//! thought of, and so that a daemon that was just started is never stale.

mod error;
mod start;

pub(crate) use error::ConnectError;

use crate::launch;
use crate::output::Output;
use banger_api::client::{Client, ClientError};
use banger_api::{DaemonStatus, Version};
use banger_core::dirs::{self, DirsError, SOCKET_NAME, Surroundings};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// How long a daemon may take to end, in seconds.
const STOP_DEADLINE: i64 = 60;

/// What the user's environment says about directories.
pub(crate) fn surroundings()
-> Surroundings<impl Fn(&str) -> Option<OsString>, impl Fn(&Path) -> bool> {
    Surroundings {
        env: |name: &str| std::env::var_os(name),
        exists: |path: &Path| path.is_dir(),
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// Whether a daemon may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Autostart {
    /// When none runs, or a stale one.
    Allowed,
    /// Never.
    Forbidden,
}

/// Where the daemon is, and what may be done to have one.
#[derive(Debug)]
pub(crate) struct Door {
    runtime_dir: PathBuf,
    autostart: Autostart,
}

impl Door {
    pub(crate) fn new(autostart: Autostart) -> Result<Self, DirsError> {
        Ok(Self { runtime_dir: dirs::runtime_dir(&surroundings())?, autostart })
    }

    /// A client for the socket, whether or not anybody listens there.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.runtime_dir.join(SOCKET_NAME))
    }

    /// A client of a daemon that answers and can be talked to.
    pub(crate) async fn open(&self, output: &Output) -> Result<Client, ConnectError> {
        let client = self.client();
        let program = match self.autostart {
            Autostart::Allowed => launch::find_daemon(),
            Autostart::Forbidden => None,
        };
        match client.version().await {
            Ok(version) => match &program {
                Some(program) if self.is_stale(program) => {
                    self.replace(&client, Some(&version), program, output).await?;
                }
                _ => ClientError::check_api(&version)?,
            },
            Err(error) if error.is_unreachable() && self.autostart == Autostart::Allowed => {
                self.start(None).await?;
            }
            // An answer that is not understood may be a stale daemon's.
            Err(error @ ClientError::Protocol { .. }) => match &program {
                Some(program) if self.is_stale(program) => {
                    self.replace(&client, None, program, output).await?;
                }
                _ => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        Ok(client)
    }

    /// Starts the daemon, and waits until it answers.
    pub(crate) async fn start(&self, state_dir: Option<&Path>) -> Result<Version, ConnectError> {
        let program = launch::find_daemon().ok_or_else(launch::LaunchError::no_daemon)?;
        start::start(&self.client(), &self.runtime_dir, &program, state_dir).await
    }

    /// Stops the daemon, and waits until its process has ended.
    pub(crate) async fn stop(&self) -> Result<(), ConnectError> {
        let client = self.client();
        let process = self.server().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        client.stop_daemon().await?;
        match process {
            Some(process) if !has_ended(&process) => {
                Err(ConnectError::StillRuns { seconds: STOP_DEADLINE })
            }
            _ => Ok(()),
        }
    }

    async fn replace(
        &self,
        client: &Client,
        version: Option<&Version>,
        program: &Path,
        output: &Output,
    ) -> Result<(), ConnectError> {
        let status = client.daemon().await.ok();
        if status.as_ref().is_some_and(|status| status.simulated) {
            // What it simulates would be gone, and a real one in its place.
            return match version {
                Some(version) => Ok(ClientError::check_api(version)?),
                None => Ok(()),
            };
        }
        self.stop().await?;
        let state_dir: Option<&DaemonStatus> = status.as_ref();
        let state_dir = state_dir.map(|status| status.state_dir.as_path());
        let new = start::start(client, &self.runtime_dir, program, state_dir).await?;
        let old = version.map_or("another version", |version| version.version.as_str());
        output.note(&format!(
            "replaced a running bangerd {old} by the installed {}; VMs go on",
            new.version
        ));
        Ok(ClientError::check_api(&new)?)
    }

    /// The process that listens at the socket.
    fn server(&self) -> Option<Pid> {
        let stream = UnixStream::connect(self.runtime_dir.join(SOCKET_NAME)).ok()?;
        Some(rustix::net::sockopt::socket_peercred(&stream).ok()?.pid)
    }

    /// Whether the running daemon's file is another than `program`. When that cannot be told, it
    /// is taken to be the same.
    fn is_stale(&self, program: &Path) -> bool {
        let identity = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        };
        let Some(pid) = self.server() else { return false };
        let running = PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        match (identity(&running), identity(program)) {
            (Some(running), Some(installed)) => running != installed,
            _ => false,
        }
    }
}

/// Waits for a process's end.
fn has_ended(process: &OwnedFd) -> bool {
    let deadline = Timespec { tv_sec: STOP_DEADLINE, tv_nsec: 0 };
    let mut ends = [PollFd::new(process, PollFlags::IN)];
    matches!(rustix::event::poll(&mut ends, Some(&deadline)), Ok(1..))
}
