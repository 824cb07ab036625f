//! A real daemon over a simulated host, for what its failures look like to a user: nothing between
//! the daemon's error and the terminal is made up.
//!
//! The daemon is the example `bangerd`, which is `bangerd` itself.

use crate::program::{BANGER, command};
use crate::transcript::transcript;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything simulated takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// The daemon with its directories. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Simulated {
    dir: TempDir,
    daemon: Option<Child>,
    instance: String,
}

impl Simulated {
    /// A host that is as these options of `bangerd` say.
    pub(crate) fn new(options: &[&str]) -> Self {
        Self::with("", options)
    }

    /// The same with lines of a configuration file.
    pub(crate) fn with(config: &str, options: &[&str]) -> Self {
        let mut simulated = Self::absent();
        fs::write(simulated.path("config.toml"), config).unwrap();
        simulated.restart(options);
        simulated
    }

    /// Nobody listens.
    pub(crate) fn absent() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, daemon: None, instance: String::new() }
    }

    /// A path of the test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The daemon's program with these arguments, still to be started.
    pub(crate) fn bangerd(&self, args: &[&str]) -> Command {
        let program = Path::new(BANGER).parent().unwrap().join("examples/bangerd");
        let mut command = command(&program, &self.path("r"));
        command.args(args);
        self.surround(&mut command);
        command
    }

    /// `banger` with these arguments, still to be started.
    pub(crate) fn call(&self, args: &[&str]) -> Command {
        let mut command = command(Path::new(BANGER), &self.path("r"));
        command.args(args).current_dir(self.dir.path());
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        command
            .env("HOME", self.path("h"))
            .env("BANGER_STATE_DIR", self.path("s"))
            .env("BANGER_GUEST_INIT", self.path("init"))
            // Any free port: tests run beside each other.
            .env("BANGER_DNS_LISTEN", "127.0.0.1:0");
        if self.path("config.toml").exists() {
            command.env("BANGER_CONFIG", self.path("config.toml"));
        }
    }

    /// Starts a daemon, where none runs, and waits until it answers.
    pub(crate) fn restart(&mut self, options: &[&str]) {
        self.kill();
        let log = fs::File::create(self.path("bangerd.stderr")).unwrap();
        let mut command = self.bangerd(&[&["--sim"], options].concat());
        self.daemon = Some(command.stderr(Stdio::from(log)).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.path("r/bangerd.sock")).is_err() {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            let said = fs::read_to_string(self.path("bangerd.stderr")).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no daemon: {ended:?} {said}");
            std::thread::park_timeout(PERIOD);
        }
        let status = self.call(&["--json", "daemon", "status"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        self.instance = status["instance"].as_str().unwrap().to_owned();
    }

    /// Waits for the end of a daemon that ends by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.daemon.take().unwrap().wait().unwrap()
    }

    /// Kills the daemon, as nothing that it could prepare for.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// What a command came to, as its user sees it.
    #[track_caller]
    pub(crate) fn banger(&self, args: &[&str]) -> String {
        self.transcript(&self.call(args).output().unwrap())
    }

    /// What a run came to, without what changes from run to run.
    pub(crate) fn transcript(&self, output: &Output) -> String {
        self.steady(&transcript(output, self.dir.path()))
    }

    /// Waits until the list of VMs has this text.
    #[track_caller]
    pub(crate) fn until_listed(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.banger(&["vm", "list"]);
            if list.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "`{text}` does not come to be:\n{list}");
        }
    }

    /// What a command that fails says to its user.
    #[track_caller]
    pub(crate) fn refusal(&self, args: &[&str]) -> String {
        let said = self.banger(args);
        let Some(refusal) = said.strip_prefix("exit: 1\n--- stdout\n--- stderr\n") else {
            panic!("it is no failure that says nothing else:\n{said}")
        };
        refusal.to_owned()
    }

    /// Runs commands that have to succeed.
    #[track_caller]
    pub(crate) fn does(&self, commands: &[&[&str]]) {
        for args in commands {
            let said = self.banger(args);
            assert!(said.starts_with("exit: 0\n"), "{args:?}: {said}");
        }
    }

    /// There is no VM, no image but the default one, and nothing on the host.
    #[track_caller]
    pub(crate) fn assert_nothing_is_left(&self) {
        let document = |args: &[&str]| -> serde_json::Value {
            let output = self.call(&[&["--json"], args].concat()).output().unwrap();
            serde_json::from_slice(&output.stdout).unwrap()
        };
        assert_eq!(document(&["vm", "list"])["vms"], serde_json::json!([]));
        let images = document(&["image", "list"]);
        let images = images["images"].as_array().unwrap().iter();
        let others = images.filter(|image| image["name"] != "default").collect::<Vec<_>>();
        assert_eq!(others, Vec::<&serde_json::Value>::new());
        let leaks = self.banger(&["doctor", "--leaks"]);
        assert!(leaks.contains("none; 0 objects on the host, all accounted for"), "{leaks}");
    }

    /// The file that an error names as its log has this text.
    #[track_caller]
    pub(crate) fn assert_log_has(&self, said: &str, text: &str) {
        let named = said.lines().find_map(|line| line.strip_prefix("log: [DIR]/"));
        let named = named.unwrap_or_else(|| panic!("no log is named: {said}"));
        let dir = self.path(named).parent().unwrap().to_owned();
        let logs = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let named = Path::new(named).file_name().unwrap().to_str().unwrap();
        // What changes from run to run was replaced in the name.
        let (begin, end) = named.split_once('[').map_or((named, ""), |(begin, rest)| {
            (begin, rest.split_once(']').map_or("", |(_, end)| end))
        });
        let mut names = logs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let found = names.find(|name| name.starts_with(begin) && name.ends_with(end));
        let found = found.unwrap_or_else(|| panic!("there is no {named} in {}", dir.display()));
        let log = fs::read_to_string(dir.join(found)).unwrap();
        assert!(log.contains(text), "`{text}` is not in the log:\n{log}");
    }

    /// Replaces the ids of operations, VMs and the instance.
    fn steady(&self, said: &str) -> String {
        let mut text = said.to_owned();
        let ops: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix("operation: ")).collect();
        for op in ops {
            text = text.replace(op, "[OP]");
        }
        for vm in self.vms() {
            text = text.replace(&vm, "[VM]");
        }
        if !self.instance.is_empty() {
            text = text.replace(&self.instance, "[INSTANCE]");
        }
        text
    }

    /// The ids of the VMs that there are or were.
    fn vms(&self) -> Vec<String> {
        let names = |dir: &str| {
            let entries = fs::read_dir(self.path(dir)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        };
        let failed = names("s/failed").filter_map(|name| {
            let name = name.strip_suffix(".json")?;
            Some(name.rsplit_once('-')?.1.to_owned())
        });
        names("s/vms").chain(failed).collect()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.kill();
    }
}
