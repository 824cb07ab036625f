//! Starting a daemon, and replacing one of another build. The daemon is the example
//! `stand_in_daemon`, installed as `bangerd` beside a copy of the program.

use crate::program::{BANGER, command};
use crate::transcript::{script, transcript};
use insta::assert_snapshot;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A directory with the program, and its runtime directory.
struct Installation {
    dir: tempfile::TempDir,
}

impl Installation {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(BANGER, dir.path().join("banger")).unwrap();
        Self { dir }
    }

    fn install_daemon(&self) {
        let examples = Path::new(BANGER).parent().unwrap().join("examples/stand_in_daemon");
        let file = self.path("bangerd");
        drop(std::fs::remove_file(&file));
        std::fs::copy(examples, file).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = command(&self.path("banger"), &self.path("run"));
        command.env_remove("BANGER_NO_AUTOSTART").env("PATH", "/nonexistent");
        command.args(args).output().unwrap()
    }

    fn banger(&self, args: &[&str]) -> String {
        transcript(&self.run(args), self.dir.path())
    }

    /// The daemon's process id, which changes when it is replaced.
    fn pid(&self) -> String {
        let output = self.run(&["--json", "daemon", "status"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["pid"].to_string()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.run(&["daemon", "stop"]);
    }
}

#[test]
fn a_daemon_is_started_when_it_is_needed_and_then_left_alone() {
    let here = Installation::new();
    here.install_daemon();
    assert_snapshot!(here.banger(&["vm", "list"]), @r"
    exit: 0
    --- stdout
    --- stderr
    note: there is no VM; `banger vm create` makes one
    ");
    let first = here.pid();
    assert!(here.banger(&["vm", "list"]).starts_with("exit: 0\n"));
    assert_eq!(here.pid(), first);
    assert!(here.banger(&["daemon", "start"]).contains("already running"));
}

#[test]
fn clients_that_come_at_once_start_one_daemon() {
    let here = Installation::new();
    here.install_daemon();
    let said = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| here.banger(&["vm", "list"]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(said.iter().all(|said| said.starts_with("exit: 0\n")), "{said:?}");
}

#[test]
fn a_daemon_of_another_build_is_replaced_and_that_is_said() {
    let here = Installation::new();
    here.install_daemon();
    here.banger(&["daemon", "start"]);
    let first = here.pid();
    here.install_daemon();
    assert_snapshot!(here.banger(&["vm", "list"]), @r"
    exit: 0
    --- stdout
    --- stderr
    note: replaced a running bangerd 0.0.9 by the installed 0.0.9; VMs go on
    note: there is no VM; `banger vm create` makes one
    ");
    assert_ne!(here.pid(), first);
    assert!(!here.banger(&["vm", "list"]).contains("replaced"));
}

#[test]
fn what_a_daemon_says_when_it_does_not_start_is_passed_on() {
    let here = Installation::new();
    let words =
        "printf 'error: the configuration is wrong\\ncaused by: line 3\\nhint: mend it\\n' >&2";
    script(here.dir.path(), "bangerd", &format!("{words}\nexit 1"));
    assert_snapshot!(here.banger(&["vm", "list"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon did not start: it ended with exit status: 1
    caused by: the configuration is wrong
    caused by: line 3
    hint: mend it
    ");
}

#[test]
fn a_missing_daemon_is_named() {
    assert_snapshot!(Installation::new().banger(&["vm", "list"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: there is no program `bangerd`
    hint: install `bangerd` beside `banger`, or in a directory of `PATH`
    ");
}

#[test]
fn stop_and_restart_are_idempotent() {
    let here = Installation::new();
    here.install_daemon();
    let restarted = here.banger(&["daemon", "restart"]);
    assert!(restarted.contains("the daemon runs, pid "), "{restarted}");
    let said = [here.banger(&["daemon", "stop"]), here.banger(&["daemon", "stop"])].concat();
    assert_snapshot!(said, @r"
    exit: 0
    --- stdout
    the daemon has stopped; VMs go on
    --- stderr
    exit: 0
    --- stdout
    the daemon is not running
    --- stderr
    ");
}
