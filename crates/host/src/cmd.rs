//! The one door through which programs are started.
//!
//! [`Cmd`] runs a program to its end with a deadline; [`spawn_detached`] starts a VMM that outlives
//! the daemon. Arguments are a list, there is no shell. A program is looked up in `PATH` and then in
//! the `sbin` directories, because a user's `PATH` on Debian lacks them.

mod detached;
mod error;
mod pump;

pub use detached::{Spawned, spawn_detached};
pub use error::{CmdError, debian_package};

use banger_core::error::fault;
use banger_core::unit::elapsed_ms;
use pump::Pump;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long a program may take unless [`Cmd::timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// `PATH` of a program with a clean environment, and where else a program is looked for.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to be run to its end.
///
/// ```
/// use banger_host::cmd::Cmd;
///
/// let output = Cmd::new("echo").arg("otter").run()?;
/// assert_eq!(output.stdout, b"otter\n");
/// # Ok::<(), banger_host::cmd::CmdError>(())
/// ```
#[must_use]
pub struct Cmd<'a> {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    environment: Environment,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    stdin_file: Option<File>,
    stdout_file: Option<File>,
    timeout: Duration,
    fate: Fate,
    on_line: Option<LineSink<'a>>,
}

type LineSink<'a> = Box<dyn FnMut(&str) + Send + 'a>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Environment {
    Inherited,
    Clean,
}

/// What becomes of the program when the calling thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    RunsOn,
    DiesWithCaller,
}

/// What a program that succeeded left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Everything that it wrote to its standard output, unless that went to a file.
    pub stdout: Vec<u8>,
    /// The last 20 lines of its standard error.
    pub stderr_tail: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl<'a> Cmd<'a> {
    /// A program by name or by path. `LC_ALL` is always `C`, so that messages can be read.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            environment: Environment::Inherited,
            dir: None,
            stdin: Vec::new(),
            stdin_file: None,
            stdout_file: None,
            timeout: DEFAULT_TIMEOUT,
            fate: Fate::RunsOn,
            on_line: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable in the program's environment. Values are never logged.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives the program nothing of the caller's environment: only a `PATH` with the system's
    /// directories, `LC_ALL`, and what [`Cmd::env`] adds.
    pub fn clean_env(mut self) -> Self {
        self.environment = Environment::Clean;
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Gives the program these bytes as standard input. Without any, its standard input is empty.
    pub fn stdin_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// Gives the program a file as standard input.
    pub fn stdin_file(mut self, file: File) -> Self {
        self.stdin_file = Some(file);
        self
    }

    /// Sends the program's standard output to a file; [`Output::stdout`] is then empty.
    pub fn stdout_file(mut self, file: File) -> Self {
        self.stdout_file = Some(file);
        self
    }

    /// Limits how long the program may take; then its process group is killed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Has the kernel kill the program when the thread that runs it ends, for instance because the
    /// daemon was killed. It costs a fork instead of a vfork, so it is for long builds.
    pub fn die_with_caller(mut self) -> Self {
        self.fate = Fate::DiesWithCaller;
        self
    }

    /// Calls `sink` with each line of standard error as it comes, without its line end.
    pub fn on_line(mut self, sink: impl FnMut(&str) + Send + 'a) -> Self {
        self.on_line = Some(Box::new(sink));
        self
    }

    /// Runs the program to its end. Everything but exit code 0 is an error.
    pub fn run(self) -> Result<Output, CmdError> {
        self.run_cancellable(&AtomicBool::new(false))
    }

    /// Like [`Cmd::run`], and kills the program's process group within a twentieth of a second of
    /// `cancel` becoming true.
    pub fn run_cancellable(mut self, cancel: &AtomicBool) -> Result<Output, CmdError> {
        let argv = self.argv();
        let start = Instant::now();
        let child = self.spawn()?;
        let pump = Pump {
            argv: &argv,
            start,
            timeout: self.timeout,
            cancel,
            input: std::mem::take(&mut self.stdin),
        };
        let outcome = pump.run(child, self.on_line.take());
        match &outcome {
            Ok(output) => tracing::debug!(
                ?argv,
                exit = "exit code 0",
                elapsed_ms = elapsed_ms(output.elapsed),
                stderr = output.stderr_tail,
                "program ended"
            ),
            Err(error) => {
                let stderr = error.stderr_tail().unwrap_or_default();
                let (error, elapsed_ms) = (fault(error), elapsed_ms(start.elapsed()));
                tracing::debug!(?argv, error, elapsed_ms, stderr, "program failed");
            }
        }
        outcome
    }

    fn argv(&self) -> Vec<String> {
        std::iter::once(self.program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect()
    }

    fn spawn(&mut self) -> Result<std::process::Child, CmdError> {
        let program = find_program(&self.program)
            .ok_or_else(|| CmdError::NotFound { program: self.program.clone() })?;
        let mut command = command(&program);
        if self.environment == Environment::Clean {
            command.env_clear().env("PATH", SYSTEM_PATH);
        }
        command.args(&self.args).env("LC_ALL", "C").envs(self.env.drain(..)).process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(match self.stdin_file.take() {
            Some(file) => Stdio::from(file),
            None if self.stdin.is_empty() => Stdio::null(),
            None => Stdio::piped(),
        });
        command.stdout(self.stdout_file.take().map_or_else(Stdio::piped, Stdio::from));
        command.stderr(Stdio::piped());
        if self.fate == Fate::DiesWithCaller {
            die_with_caller(&mut command);
        }
        command.spawn().map_err(|source| CmdError::Spawn { program, source })
    }
}

impl fmt::Debug for Cmd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmd")
            .field("argv", &self.argv())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The path of a program: itself if it has a slash, else from `PATH` or the system's directories.
/// `None` if there is no such executable file.
pub fn find_program(program: impl AsRef<Path>) -> Option<PathBuf> {
    let program = program.as_ref();
    if program.components().count() > 1 || program.is_absolute() {
        return is_executable(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(std::env::split_paths(SYSTEM_PATH))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[expect(clippy::disallowed_methods, reason = "this is the one door")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

fn die_with_caller(command: &mut Command) {
    let caller = rustix::process::getpid();
    let arm = move || -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The caller may have died before the line above; then nobody would send the signal.
        if getppid() == Some(caller) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: the closure runs between fork and exec and makes two system calls; it neither
    // allocates nor takes a lock.
    #[expect(unsafe_code, reason = "prctl must be called in the child")]
    unsafe {
        command.pre_exec(arm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::error::{ErrorCode, Explain};
    use std::sync::atomic::Ordering;

    #[test]
    fn input_of_any_size_comes_back_from_a_filter() {
        let bytes: Vec<u8> = (0..1_000_003u32).map(|n| n.to_le_bytes()[0]).collect();
        let output = Cmd::new("cat").stdin_bytes(bytes.clone()).run().unwrap();
        assert!(output.stdout == bytes);
    }

    #[test]
    fn a_program_that_does_not_read_its_input_is_no_error() {
        let output = Cmd::new("true").stdin_bytes(vec![0; 1_000_000]).run().unwrap();
        assert!(output.stdout.is_empty());
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Cmd::new("no-such-program").run().unwrap_err();
        assert_eq!(error.code(), ErrorCode::MissingDependency);
        assert_eq!(error.to_string(), "`no-such-program` is not installed");
        let known = CmdError::NotFound { program: "mke2fs".into() };
        assert_eq!(known.hints(), ["install the Debian package `e2fsprogs`"]);
    }

    #[test]
    fn a_failure_carries_arguments_exit_and_the_last_lines() {
        let error = Cmd::new("ls").arg("/no/such/file").run().unwrap_err();
        let CmdError::Failed { argv, exit, stderr_tail, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(argv, &["ls", "/no/such/file"]);
        assert_eq!(*exit, crate::Exit::Code(2));
        assert!(stderr_tail.contains("No such file or directory"), "{stderr_tail}");
    }

    #[test]
    fn a_slow_program_is_killed_with_its_whole_group() {
        let start = Instant::now();
        // `timeout --foreground` keeps its child in the group that must be killed.
        let error = Cmd::new("timeout")
            .args(["--foreground", "60", "sleep", "60"])
            .timeout(Duration::from_millis(100))
            .run()
            .unwrap_err();
        assert!(matches!(error, CmdError::TimedOut { .. }), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn cancelling_ends_the_program() {
        let cancel = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| Cmd::new("sleep").arg("60").run_cancellable(&cancel));
            cancel.store(true, Ordering::Relaxed);
            let error = run.join().unwrap().unwrap_err();
            assert!(matches!(error, CmdError::Cancelled { .. }), "{error:?}");
        });
    }

    #[test]
    fn lines_arrive_in_order_and_an_unfinished_last_line_counts() {
        let mut lines = Vec::new();
        let output = Cmd::new("dd")
            .args(["if=/dev/zero", "of=/dev/null", "bs=1", "count=1"])
            .on_line(|line| lines.push(line.to_owned()))
            .run()
            .unwrap();
        assert_eq!(lines[0], "1+0 records in");
        assert_eq!(lines.len(), 3);
        assert_eq!(output.stderr_tail.lines().count(), 3);
    }

    #[test]
    fn a_clean_environment_has_a_path_a_locale_and_what_was_added() {
        let output = Cmd::new("env").clean_env().env("OTTER", "1").run().unwrap();
        let mut names: Vec<_> = std::str::from_utf8(&output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "OTTER", "PATH"]);
    }

    #[test]
    fn a_program_that_dies_with_its_caller_still_runs_to_its_end() {
        let output = Cmd::new("echo").arg("x").die_with_caller().run().unwrap();
        assert_eq!(output.stdout, b"x\n");
    }
}
