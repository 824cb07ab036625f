//! The real program `bangerd --sim`, as a child of the test.

use crate::client::{self, Answer};
use banger_host::cmd::{Cmd, CmdError, Output};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a look finds something.
pub(crate) async fn reach<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let reached = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{what} is not reached"))
}

/// The directories of a daemon, below one that goes with the test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("r/bangerd.sock")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("s/bangerd.log")).unwrap()
    }

    /// The program with these directories and nothing else of the test's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Cmd<'static> {
        Cmd::new(env!("CARGO_BIN_EXE_bangerd"))
            .args(args)
            .clean_env()
            .env("HOME", self.path("h"))
            .env("BANGER_STATE_DIR", self.path("s"))
            .env("BANGER_RUNTIME_DIR", self.path("r"))
            // Any free port: tests run beside each other.
            .env("BANGER_DNS_LISTEN", "127.0.0.1:0")
            .timeout(Duration::from_secs(60))
    }

    /// What a program that does not start says, without this place's path.
    #[track_caller]
    pub(crate) fn refusal(&self, command: Cmd<'_>) -> String {
        match command.run() {
            Err(CmdError::Failed { exit, stderr_tail, .. }) => {
                let text = stderr_tail.replace(self.dir.path().to_str().unwrap(), "<dir>");
                format!("{exit}\n{text}")
            }
            other => panic!("{other:?}"),
        }
    }

    /// Starts the program and waits until it answers.
    pub(crate) async fn start(&self, args: &[&str]) -> Program {
        self.start_with(self.command(args)).await
    }

    /// The same for a command of this place.
    pub(crate) async fn start_with(&self, command: Cmd<'static>) -> Program {
        let cancel = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancel);
        let run = std::thread::spawn(move || command.run_cancellable(&flag));
        let program = Program { run: Some(run), cancel, socket: self.socket() };
        let answers = async {
            while tokio::net::UnixStream::connect(&program.socket).await.is_err() {
                assert!(!program.has_ended(), "the program ended at once");
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, answers).await.expect("the program answers");
        program
    }
}

/// A running program. It is killed when this is dropped.
pub(crate) struct Program {
    run: Option<JoinHandle<Result<Output, CmdError>>>,
    cancel: Arc<AtomicBool>,
    socket: PathBuf,
}

impl Program {
    fn has_ended(&self) -> bool {
        self.run.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        client::ask(&self.socket, method, path, body).await
    }

    pub(crate) async fn pid(&self) -> u32 {
        let status = self.ask("GET", "/v1/daemon", "").await.json();
        status["pid"].as_u64().unwrap().try_into().unwrap()
    }

    pub(crate) async fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().await.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the program's end.
    pub(crate) async fn ended(mut self) -> Result<Output, CmdError> {
        let run = self.run.take().expect("it is taken once");
        let joined = tokio::task::spawn_blocking(move || run.join().unwrap());
        timeout(PATIENCE, joined).await.expect("the program ends").unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        if let Some(run) = self.run.take() {
            drop(run.join());
        }
    }
}

/// The repository's copy of the OpenAPI document.
pub(crate) fn checked_in_openapi() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
}
