//! A site: namespaces, directories and a daemon of a test's own, and proof that nothing of it
//! stays.

use super::log::{self, Secrets};
use super::program::{Call, Running, has_ended, tool};
use super::remains;
use super::transcript::Transcript;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::Value;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command may take that boots no VM. A machine that emulates can be very busy.
pub(crate) const QUICK: Duration = Duration::from_secs(90);
/// How long a command may take that boots one.
pub(crate) const BOOT: Duration = Duration::from_secs(330);
/// What banger is told of that: less, so that it has the last word.
const BOOT_SECONDS: &str = "300";

/// Where one test's daemon and VMs live.
#[derive(Debug)]
pub(crate) struct Site {
    dir: PathBuf,
    programs: PathBuf,
    links: BTreeSet<String>,
    instance: OnceCell<String>,
    secrets: RefCell<Secrets>,
    finished: bool,
}

impl Site {
    /// A site with the usual settings.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A site whose configuration also has these lines, each `key = value`, which win over the
    /// usual ones. The calling thread moves into namespaces of its own.
    pub(crate) fn with(settings: &[String]) -> Self {
        enter_namespaces();
        let dir = tempfile::Builder::new().prefix("bgr").tempdir().unwrap().keep();
        let dir = dir.canonicalize().unwrap();
        let programs = PathBuf::from(variable("BANGER_TEST_PROGRAMS"));
        let (links, instance) = (remains::links(), OnceCell::new());
        let secrets = RefCell::default();
        let site = Self { dir, programs, links, instance, secrets, finished: false };
        for name in ["h", "s"] {
            fs::create_dir(site.dir.join(name)).unwrap();
        }
        fs::write(site.config(), configuration(settings)).unwrap();
        site
    }

    /// The daemon's state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// The daemon's runtime directory.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.dir.join("r")
    }

    /// The home of the user whose daemon it is.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("h")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    fn env(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut env = vec![
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            ("TERM".to_owned(), "xterm".to_owned()),
            ("HOME".to_owned(), path(self.home())),
            ("BANGER_CONFIG".to_owned(), path(self.config())),
            ("BANGER_STATE_DIR".to_owned(), path(self.state())),
            ("BANGER_RUNTIME_DIR".to_owned(), path(self.runtime())),
            ("BANGER_CACHE_DIR".to_owned(), path(self.dir.join("c"))),
        ];
        if let Ok(init) = std::env::var("BANGER_GUEST_INIT") {
            env.push(("BANGER_GUEST_INIT".to_owned(), init));
        }
        env
    }

    /// `banger` with these arguments, still to be started.
    pub(crate) fn call(&self, args: &[&str]) -> Call {
        Call::new(self.programs.join("banger"), args).only_env(&self.env())
    }

    /// `banger` with these arguments, through a program that takes another's command line.
    pub(crate) fn call_through(&self, wrapper: &[&str], args: &[&str]) -> Call {
        let banger = self.programs.join("banger");
        let all = [&wrapper[1..], &[banger.to_str().unwrap()], args].concat();
        Call::new(wrapper[0], &all).only_env(&self.env())
    }

    /// A program that calls `banger` by its name.
    pub(crate) fn call_by(&self, program: &Path, args: &[&str]) -> Call {
        let mut env = self.env();
        let path = &mut env.iter_mut().find(|(name, _)| name == "PATH").unwrap().1;
        *path = format!("{}:{path}", self.programs.display());
        Call::new(program, args).only_env(&env)
    }

    /// Runs `banger`.
    #[track_caller]
    pub(crate) fn banger(&self, args: &[&str]) -> Transcript {
        self.call(args).start().within(QUICK)
    }

    /// Starts a `banger` that boots VMs. The first two arguments are noun and verb.
    #[track_caller]
    pub(crate) fn begin_boot(&self, args: &[&str]) -> Running {
        let (verb, rest) = args.split_at(2);
        self.call(&[verb, &["--timeout", BOOT_SECONDS], rest].concat()).start()
    }

    /// Runs a `banger` that boots VMs, and gives it the time for that.
    #[track_caller]
    pub(crate) fn boot(&self, args: &[&str]) -> Transcript {
        let booted = self.begin_boot(args).within(BOOT);
        self.check_secrets();
        booted
    }

    /// Runs a line in a guest's shell, which has to succeed, and returns what it wrote.
    #[track_caller]
    pub(crate) fn ssh(&self, vm: &str, line: &str) -> String {
        let said = self.banger(&["vm", "ssh", vm, "--", line]).ok().to_owned();
        self.check_secrets();
        said
    }

    /// No key of the VMs that there are or were is in a log.
    #[track_caller]
    fn check_secrets(&self) {
        let mut secrets = self.secrets.borrow_mut();
        secrets.look_for_more(&self.state());
        secrets.assert_in_no_log(&self.state());
    }

    /// The VM as `vm show --json` has it.
    #[track_caller]
    pub(crate) fn vm(&self, name: &str) -> Value {
        let shown = self.banger(&["--json", "vm", "show", name]);
        shown.code(0).json()[0]["vm"].clone()
    }

    /// A text of the VM, such as its state; empty where it is null.
    #[track_caller]
    pub(crate) fn text(&self, name: &str, key: &str) -> String {
        self.vm(name)[key].as_str().unwrap_or_default().to_owned()
    }

    /// What the daemon that runs says of itself.
    #[track_caller]
    pub(crate) fn daemon(&self) -> Value {
        self.banger(&["--json", "daemon", "status"]).code(0).json()
    }

    /// The daemon's process.
    #[track_caller]
    pub(crate) fn daemon_pid(&self) -> Pid {
        pid(&self.daemon()["pid"])
    }

    /// Sends the daemon a signal and waits until it has ended.
    #[track_caller]
    pub(crate) fn end_daemon(&self, signal: Signal) {
        // Its arguments are gone from /proc some time before its socket is closed.
        let daemon = pidfd_open(self.daemon_pid(), PidfdFlags::empty()).unwrap();
        pidfd_send_signal(&daemon, signal).unwrap();
        assert!(has_ended(&daemon, QUICK), "the daemon has not ended within {QUICK:?}");
    }

    /// Takes the interfaces that are there now for the test's own.
    pub(crate) fn own_links(&mut self) {
        self.links = remains::links();
    }

    /// What is on the machine that only a running VM needs, as far as banger is not asked.
    pub(crate) fn of_running_vms(&self) -> Vec<String> {
        let mut found = Vec::new();
        let is_daemon = |command: &str| {
            let program = command.split(' ').next().unwrap_or_default();
            Path::new(program).file_name().is_some_and(|name| name == "bangerd")
        };
        let processes = remains::processes(&self.dir);
        let others = processes.into_iter().filter(|process| !is_daemon(&process.command));
        found.extend(others.map(|process| format!("process {}: {}", process.pid, process.command)));
        let links = remains::links();
        found.extend(links.difference(&self.links).map(|name| format!("interface {name}")));
        found.extend(remains::tables());
        found.extend(remains::loops(&self.dir).into_iter().map(|path| format!("loop {path}")));
        if let Some(instance) = self.instance() {
            let devices = remains::dm_devices(instance);
            found.extend(devices.into_iter().map(|name| format!("dm device {name}")));
            let sockets = remains::names(self.runtime().join(instance));
            found.extend(sockets.into_iter().map(|name| format!("runtime directory {name}")));
        }
        found
    }

    /// What is on the machine of any VM, as far as banger is not asked.
    pub(crate) fn of_vms(&self) -> Vec<String> {
        let mut found = self.of_running_vms();
        let dirs = remains::names(self.state().join("vms"));
        found.extend(dirs.into_iter().map(|name| format!("VM directory {name}")));
        found
    }

    /// The mark in the names of host objects, as soon as a daemon has been seen.
    pub(crate) fn instance(&self) -> Option<&str> {
        if self.instance.get().is_none() {
            let status = self.call(&["--json", "daemon", "status"]).start().within(QUICK);
            let status: Value = serde_json::from_str(status.stdout()).ok()?;
            self.instance.set(status["instance"].as_str()?.to_owned()).unwrap();
        }
        self.instance.get().map(String::as_str)
    }

    /// No VM runs, and nothing of one that ran is on the machine.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        assert_eq!(self.of_running_vms(), [""; 0], "something of a running VM is there");
    }

    /// There is no VM, and nothing of one is on the machine: neither by banger's own account nor by
    /// another.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        self.banger(&["doctor"]).shows("none; 0 objects on the host, all accounted for");
        assert_eq!(self.banger(&["--json", "vm", "list"]).json()["vms"], serde_json::json!([]));
        assert_eq!(self.of_vms(), [""; 0], "something of a VM is there");
    }

    /// The end of a test: the site is clean, the daemon ends, and then nothing runs. What it has
    /// logged is as it should be.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.assert_clean();
        self.banger(&["daemon", "stop"]).ok();
        let left = remains::processes(&self.dir);
        assert!(left.is_empty(), "still running: {left:?}");
        assert!(!self.runtime().join("bangerd.sock").exists(), "the socket is still there");
        self.check_secrets();
        assert!(self.secrets.borrow().len() > 0, "at least the key that enters VMs is known");
        log::check_lines(&self.state());
        self.finished = true;
    }

    /// Shows what a failed test's reader asks for first.
    fn tell(&self) {
        let logs = [self.state().join("bangerd.log"), self.runtime().join("bangerd.stderr")];
        let dirs = remains::names(self.state().join("vms"));
        let consoles = dirs.iter().map(|vm| self.state().join("vms").join(vm).join("console.log"));
        for path in logs.into_iter().chain(consoles) {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- the end of {}\n{end}", path.display());
        }
        eprintln!("--- kept: {}", self.dir.display());
    }

    /// Detaches the block devices that a failed test left. Interfaces go with the namespace.
    fn detach(&self, instance: Option<&str>) {
        for name in instance.map(remains::dm_devices).unwrap_or_default() {
            Call::new("dmsetup", &["remove", "--retry", &name]).start().within(QUICK);
        }
        for path in remains::loops(&self.dir) {
            Call::new("losetup", &["--detach", &path]).start().within(QUICK);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.tell();
        }
        let runs = self.runtime().join("bangerd.sock").exists();
        let known = if runs { self.instance() } else { self.instance.get().map(String::as_str) };
        let instance = known.map(str::to_owned);
        remains::kill(&self.dir);
        self.detach(instance.as_deref());
        if !failed && std::env::var_os("BANGER_TEST_KEEP").is_none() {
            fs::remove_dir_all(&self.dir).unwrap();
        }
        assert!(failed || self.finished, "the test does not finish its site");
    }
}

/// The process that a number in a document names.
#[track_caller]
pub(crate) fn pid(number: &Value) -> Pid {
    Pid::from_raw(number.as_i64().unwrap().try_into().unwrap()).unwrap()
}

#[track_caller]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("`{name}` is not set; `cargo xtask test e2e` sets it and all that is needed")
    })
}

/// The bundle that the tests boot from.
pub(super) fn good_bundle() -> PathBuf {
    PathBuf::from(variable("BANGER_BUNDLE_DIR")).canonicalize().unwrap()
}

fn configuration(settings: &[String]) -> String {
    let mut lines = settings.to_vec();
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let mut usual = vec![format!("bundle_dir = '{}'", good_bundle().display())];
    // So that the logs are checked with everything that they can have.
    usual.push("log_level = 'debug'".to_owned());
    for name in ["vmm", "overlay"] {
        if let Ok(value) = std::env::var(format!("BANGER_{}", name.to_uppercase())) {
            usual.push(format!("{name} = '{value}'"));
        }
    }
    let given: BTreeSet<String> = lines.iter().map(|line| key(line)).collect();
    lines.extend(usual.into_iter().filter(|line| !given.contains(&key(line))));
    lines.join("\n") + "\n"
}

/// Moves the calling thread, and all that it starts from now on, into a network and a mount table of
/// their own.
fn enter_namespaces() {
    assert!(rustix::process::geteuid().is_root(), "these tests need root");
    // SAFETY: descriptors stay shared; only namespaces are left.
    #[expect(unsafe_code, reason = "a test plays in namespaces of its own")]
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    // It shows the network of the thread that mounts it.
    mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None::<&CStr>).unwrap();
    tool("ip", &["link", "set", "lo", "up"]);
}
