//! A daemon that is not there, is there twice, or goes away.

use crate::simulated::Simulated;
use insta::assert_snapshot;

/// Without what depends on how far the answer had come when the daemon died.
pub(super) fn timeless(said: &str) -> String {
    let depends = |line: &&str| line.starts_with("caused by: ") || line.starts_with("operation: ");
    said.lines().filter(|line| !depends(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_daemon_that_does_not_run_is_told_with_what_starts_it() {
    let mut host = Simulated::new(&[]);
    host.kill();
    assert_snapshot!(host.refusal(&["vm", "list"]), @r"
    error: the daemon does not answer at `[DIR]/r/bangerd.sock`
    caused by: Connection refused (os error 111)
    hint: start it with `banger daemon start`
    ");
}

#[test]
fn a_second_daemon_on_a_state_directory_is_refused() {
    let host = Simulated::new(&[]);
    let second = |name: &str, value: &str| {
        let output = host.bangerd(&["--sim"]).env(name, host.path(value)).output().unwrap();
        let said = host.transcript(&output);
        match said.split_once("(pid ") {
            Some((before, rest)) => {
                format!("{before}(pid [PID]{}", &rest[rest.find(')').unwrap()..])
            }
            None => said,
        }
    };
    assert_snapshot!(second("BANGER_RUNTIME_DIR", "r2"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: a daemon runs (pid [PID]) for `[DIR]/s` already
    hint: `banger daemon stop` ends it; VMs go on running
    hint: set `BANGER_STATE_DIR` and `BANGER_RUNTIME_DIR` for a daemon of its own
    ");
    assert_snapshot!(second("BANGER_STATE_DIR", "s2"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: another daemon answers on `[DIR]/r/bangerd.sock`
    hint: set `BANGER_RUNTIME_DIR` to another directory
    ");
}

#[test]
fn a_daemon_that_dies_in_a_create_is_told_and_the_next_one_leaves_nothing() {
    let mut host = Simulated::new(&["--sim-fault", "crash-after:ensure:tap"]);
    let said = timeless(&host.banger(&["vm", "create", "--name", "otter"]));
    assert!(!host.ended().success());
    assert_snapshot!(said, @r"
    exit: 1
    --- stdout
    --- stderr
    error: the daemon went away before it had finished
    hint: `banger vm list` shows what came of it, `banger daemon logs` what happened
    ");
    host.restart(&[]);
    let leaks = host.banger(&["doctor", "--leaks"]);
    assert!(leaks.contains("all accounted for"), "{leaks}");
}

#[test]
fn real_and_simulated_vms_do_not_share_a_state_directory() {
    let mut host = Simulated::new(&[]);
    host.kill();
    std::fs::write(host.path("init"), super::files::kernel()).unwrap();
    let output = host.bangerd(&[]).output().unwrap();
    assert_snapshot!(host.transcript(&output), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `[DIR]/s` has the records of a simulation
    hint: set `BANGER_STATE_DIR` to another directory
    ");
}
