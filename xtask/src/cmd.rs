//! The one place in xtask that starts programs.
//!
//! A program gets a process group of its own and no input, so that Ctrl-C reaches xtask alone, which
//! passes it on and waits. Each is shown as `$ program arguments` before it starts.

mod cost;

pub(crate) use cost::Cost;

use crate::interrupt::{self, Interrupted, Urgency};
use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A program to be started.
#[must_use]
#[derive(Debug)]
pub(crate) struct Cmd {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    surroundings: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    input: Option<Stdio>,
    echo: Echo,
    kin: Kin,
    session: Session,
    during: During,
    timeout: Option<Duration>,
    grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Shared,
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    Shown,
    Silent,
}

/// What the program is to xtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    /// Any program.
    Stranger,
    /// xtask itself, perhaps through another program: it watches its standard input and, since
    /// `sudo` may ask for a password, stays in the terminal's foreground.
    Xtask,
    /// xtask itself, in this one's place.
    Heir,
}

/// What to do when the user wants to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum During {
    Work,
    CleanUp,
}

/// What a program that ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output, if that was captured.
    pub(crate) stdout: String,
}

impl Cmd {
    /// A program by name or by path.
    pub(crate) fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            surroundings: Vec::new(),
            dir: None,
            input: None,
            echo: Echo::Shown,
            kin: Kin::Stranger,
            session: Session::Shared,
            during: During::Work,
            timeout: None,
            grace: GRACE,
        }
    }

    /// A program that needs root: through `sudo` where xtask does not run as root.
    pub(crate) fn as_root(program: impl AsRef<Path>) -> Self {
        if rustix::process::geteuid().is_root() {
            return Self::new(program);
        }
        let mut cmd = Self::new("sudo").arg("--").arg(program.as_ref());
        cmd.kin = Kin::Xtask;
        cmd
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets variables that are the same for many programs, and so are not shown.
    pub(crate) fn surroundings(mut self, pairs: &[(&str, PathBuf)]) -> Self {
        self.surroundings.extend(pairs.iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Sets the working directory.
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Does not show the command.
    pub(crate) fn silent(mut self) -> Self {
        self.echo = Echo::Silent;
        self
    }

    /// Says that the program is xtask, which ends in good order when its input ends.
    pub(crate) fn watches_input(mut self) -> Self {
        self.kin = Kin::Xtask;
        self
    }

    /// Gives it a session of its own, not only a process group.
    pub(crate) fn own_session(mut self) -> Self {
        self.session = Session::Own;
        self
    }

    /// Runs the program although the user wants to end.
    pub(crate) fn clean_up(mut self) -> Self {
        self.during = During::CleanUp;
        self
    }

    /// Limits how long it may take.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long it may take to end after it was asked to.
    pub(crate) fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Runs it. Everything but exit code 0 is an error.
    pub(crate) fn run(self) -> Result<()> {
        let shown = self.to_string();
        check(&shown, self.status()?)
    }

    /// Runs it and says how it ended.
    pub(crate) fn status(mut self) -> Result<ExitStatus> {
        Ok(self.start(Stdio::inherit(), Stdio::inherit())?.finish()?.status)
    }

    /// Runs it and returns what it wrote. Everything but exit code 0 is an error.
    pub(crate) fn read(mut self) -> Result<String> {
        let shown = self.to_string();
        let ended = self.start(Stdio::piped(), Stdio::inherit())?.finish()?;
        check(&shown, ended.status)?;
        Ok(ended.stdout)
    }

    /// Runs it and returns what it wrote and how it ended.
    pub(crate) fn observe(mut self) -> Result<Ended> {
        self.start(Stdio::piped(), Stdio::inherit())?.finish()
    }

    /// Runs it without showing anything and returns what it wrote, however it ended.
    pub(crate) fn read_anyway(self) -> Result<String> {
        Ok(self.silent().start(Stdio::piped(), Stdio::null())?.finish()?.stdout)
    }

    /// Runs it without showing anything. `None` if it cannot be started or fails.
    pub(crate) fn probe(self) -> Result<Option<String>> {
        match self.silent().start(Stdio::piped(), Stdio::null()) {
            Ok(running) => {
                let ended = running.finish()?;
                Ok(ended.status.success().then_some(ended.stdout))
            }
            Err(_) => Ok(None),
        }
    }

    /// Starts it with xtask's own input and output.
    pub(crate) fn spawn_heir(mut self) -> Result<Running> {
        self.kin = Kin::Heir;
        self.start(Stdio::inherit(), Stdio::inherit())
    }

    /// Runs it with xtask's own input and output and says how it ended.
    pub(crate) fn hand_over(self) -> Result<ExitStatus> {
        Ok(self.spawn_heir()?.finish()?.status)
    }

    /// Runs it with its output in a file. Everything but exit code 0 is an error.
    pub(crate) fn run_to(self, file: &Path) -> Result<()> {
        let shown = self.to_string();
        check(&shown, self.spawn_to(file)?.finish()?.status)
    }

    /// Starts it with its output in a file. Dropping the handle kills it.
    pub(crate) fn spawn_to(mut self, log: &Path) -> Result<Running> {
        let open = || File::create(log).with_context(|| format!("cannot write {}", log.display()));
        let out = open()?;
        let err = out.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
        self.start(out.into(), err.into())
    }

    /// The same, with its error output in a file of its own.
    pub(crate) fn spawn_to_two(mut self, out: &Path, err: &Path) -> Result<Running> {
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        self.start(create(out)?.into(), create(err)?.into())
    }

    fn start(&mut self, stdout: Stdio, stderr: Stdio) -> Result<Running> {
        if self.during == During::Work {
            interrupt::check()?;
        }
        let shown = self.to_string();
        if self.echo == Echo::Shown {
            eprintln!("$ {shown}");
        }
        let mut command = command(&self.program);
        command.args(&self.args).envs(self.surroundings.drain(..)).envs(self.env.drain(..));
        command.stdout(stdout).stderr(stderr);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        match self.kin {
            Kin::Stranger if self.session == Session::Own => in_own_session(&mut command),
            Kin::Stranger => {
                command.stdin(self.input.take().unwrap_or_else(Stdio::null)).process_group(0)
            }
            Kin::Xtask => command.stdin(Stdio::piped()),
            Kin::Heir => command.stdin(Stdio::inherit()),
        };
        let child = command.spawn().map_err(|error| self.not_started(error))?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .with_context(|| format!("cannot watch `{shown}`"))?;
        Ok(Running {
            child,
            pid,
            pidfd,
            shown,
            kin: self.kin,
            during: self.during,
            deadline: self.timeout.map(|timeout| Instant::now() + timeout),
            grace: self.grace,
        })
    }

    fn not_started(&self, error: io::Error) -> anyhow::Error {
        let program = self.program.display();
        if error.kind() == io::ErrorKind::NotFound {
            let remedy = if self.program == Path::new("sudo") {
                "run this as root, or install sudo"
            } else {
                "install it, or check PATH"
            };
            return anyhow!("`{program}` is not there: {remedy}");
        }
        anyhow::Error::new(error).context(format!("cannot start `{program}`"))
    }
}

impl std::fmt::Display for Cmd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, value) in &self.env {
            write!(f, "{}={} ", key.to_string_lossy(), quoted(value))?;
        }
        // cargo names itself by the whole path of its toolchain.
        let program = match self.program.file_name() {
            Some(name) if name == "cargo" => name,
            _ => self.program.as_os_str(),
        };
        write!(f, "{}", quoted(program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// A program that runs. It does not outlive this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    shown: String,
    kin: Kin,
    during: During,
    deadline: Option<Instant>,
    grace: Duration,
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for at most so long; says whether it has ended.
    pub(crate) fn wait_for(&self, time: Duration) -> Result<bool> {
        let time = Timespec::try_from(time).context("such a long wait is not possible")?;
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot wait for `{}`", self.shown)),
        }
    }

    /// Asks it to end with SIGTERM, and kills it when it does not in time.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<ExitStatus> {
        // To the program alone: what it has started is its own business. It fails only when the
        // program has ended, which is what is wanted.
        pidfd_send_signal(&self.pidfd, Signal::TERM).ok();
        if !self.ends_within(patience)? {
            self.kill();
            bail!("`{}` did not end within {} s and was killed", self.shown, patience.as_secs());
        }
        self.child.wait().with_context(|| format!("cannot wait for `{}`", self.shown))
    }

    /// Waits for its end, and says how it ended.
    pub(crate) fn wait(self) -> Result<ExitStatus> {
        Ok(self.finish()?.status)
    }

    /// Has it end in good order, as when the user wants to end.
    pub(crate) fn end(mut self) -> Result<()> {
        self.end_early()
    }

    fn finish(mut self) -> Result<Ended> {
        let reader = self.child.stdout.take().map(|mut stdout| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stdout.read_to_end(&mut bytes).map(|_| bytes)
            })
        });
        self.wait_while_wanted()?;
        let status =
            self.child.wait().with_context(|| format!("cannot wait for `{}`", self.shown))?;
        let bytes = match reader {
            Some(reader) => reader
                .join()
                .map_err(|_payload| anyhow!("the reader of `{}` panicked", self.shown))?
                .with_context(|| format!("cannot read from `{}`", self.shown))?,
            None => Vec::new(),
        };
        // An interrupted xtask below ends with a code of its own: the reason is known here.
        if self.during == During::Work {
            interrupt::check()?;
        }
        Ok(Ended { status, stdout: String::from_utf8_lossy(&bytes).into_owned() })
    }

    fn wait_while_wanted(&mut self) -> Result<()> {
        loop {
            if self.wait_for(Duration::from_millis(200))? {
                return Ok(());
            }
            if self.during == During::Work && interrupt::urgency() != Urgency::None {
                self.end_early()?;
                return Err(Interrupted.into());
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                self.end_early()?;
                bail!("`{}` took too long and was stopped", self.shown);
            }
        }
    }

    fn end_early(&mut self) -> Result<()> {
        // For xtask the end of its input is the request: a signal might not get through sudo.
        drop(self.child.stdin.take());
        if self.kin == Kin::Stranger {
            // As the terminal would: to all of the group. It fails only when there is nobody.
            kill_process_group(self.pid, Signal::INT).ok();
        }
        if !self.ends_within(self.grace)? {
            self.kill();
        }
        Ok(())
    }

    fn ends_within(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && interrupt::urgency() != Urgency::Again {
            if self.wait_for(Duration::from_millis(200))? {
                return Ok(true);
            }
        }
        self.wait_for(Duration::ZERO)
    }

    fn kill(&mut self) {
        if self.kin == Kin::Stranger {
            // The group has the program's id, which stays taken until the wait below.
            kill_process_group(self.pid, Signal::KILL).ok();
        }
        self.child.kill().ok();
        // A program behind sudo cannot be killed by a user; do not wait for it forever.
        if let Ok(true) = self.wait_for(Duration::from_secs(5)) {
            self.child.wait().ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a wait this does nothing: the standard library knows that the id is free again.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

fn check(shown: &str, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("`{shown}` failed ({status})") }
}

/// The argument as one would type it.
fn quoted(arg: &OsStr) -> String {
    let text = arg.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The leader of a session leads a process group of the same number too.
fn in_own_session(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec the closure makes one system call and nothing else.
    #[expect(unsafe_code, reason = "a session is made in the child")]
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    command.stdin(Stdio::null())
}

#[expect(clippy::disallowed_methods, reason = "xtask's one door; it knows no crate of banger")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let cmd = Cmd::new("ls").arg("-l").arg("a b").arg("it's").env("LC_ALL", "C");
        assert_eq!(cmd.to_string(), r"LC_ALL=C ls -l 'a b' 'it'\''s'");
    }

    #[test]
    fn output_is_returned_and_failure_is_an_error() {
        assert_eq!(Cmd::new("echo").arg("otter").read().unwrap(), "otter\n");
        let error = Cmd::new("false").run().unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
        assert!(Cmd::new("no-such-program").probe().unwrap().is_none());
    }

    #[test]
    fn a_session_of_its_own_is_led_by_the_program() {
        let own = Cmd::new("sleep").arg("60").own_session();
        let running = own.spawn_to(Path::new("/dev/null")).unwrap();
        let pid = running.pid().as_raw_nonzero().to_string();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // proc_pid_stat(5): the sixth field.
        assert_eq!(stat.split(' ').nth(5), Some(pid.as_str()));
    }

    #[test]
    fn a_program_that_takes_too_long_is_stopped() {
        let start = Instant::now();
        let error = Cmd::new("sleep").arg("60").timeout(Duration::from_millis(100)).run();
        assert!(error.unwrap_err().to_string().contains("took too long"));
        assert!(start.elapsed() < GRACE);
    }
}
