//! Simulated VMMs and their guests.

use super::*;
use banger_core::guest::{Stage, StageLine};

fn stages(console: &str) -> Vec<Stage> {
    console.lines().filter_map(StageLine::parse).map(|line| line.stage).collect()
}

fn signal(text: &str) -> Signal {
    text.parse().unwrap()
}

/// How a VMM that runs now will end; waits at most ten seconds.
async fn exit_of(future: ExitFuture) -> Exit {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("the VMM ends")
}

#[tokio::test]
async fn a_guest_boots_when_told_and_ends_when_asked() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let vmm = lab.vmm(1);
    assert!(!host.is_booted(&vmm.api_socket));
    assert_eq!(stages(&lab.console(1)), []);
    assert!(host.request_shutdown(&vmm.api_socket).is_err(), "nothing runs in it yet");

    host.boot(&vmm.api_socket).unwrap();
    assert!(host.is_booted(&vmm.api_socket));
    assert_eq!(stages(&lab.console(1)).last(), Some(&Stage::Handover));
    assert!(lab.console(1).ends_with("login: "));
    assert!(host.boot(&vmm.api_socket).is_err(), "it boots once");
    let pid = host.find(&vmm).unwrap().expect("a VMM that runs").pid;
    assert!(pid > 1 << 22);

    let exited = host.exited(&vmm).unwrap();
    host.request_shutdown(&vmm.api_socket).unwrap();
    assert_eq!(exit_of(exited).await, Exit::Code(0));
    assert_eq!(host.find(&vmm).unwrap(), None);
    assert!(!host.is_booted(&vmm.api_socket));
    assert!(!roles(&host).contains(&Role::Vmm));
    // Who asks late is told as well, until the VMM is removed or started again.
    assert_eq!(exit_of(host.exited(&vmm).unwrap()).await, Exit::Code(0));
    let error = host.boot(&vmm.api_socket).unwrap_err();
    assert!(error.to_string().starts_with("could not connect to"), "{error}");
}

#[tokio::test]
async fn a_vmm_is_started_once_and_gets_a_new_pid_when_started_again() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let resource = lab.resource(1, Role::Vmm);
    let pid = || host.find(&lab.vmm(1)).unwrap().map(|view| view.pid);
    let first = pid().expect("it runs");
    assert_eq!(host.ensure(&resource).unwrap(), Change::Unchanged);
    assert_eq!((pid(), host.vmm_starts()), (Some(first), 1));
    let exited = host.exited(&lab.vmm(1)).unwrap();
    assert_eq!(host.remove(&resource).unwrap(), Change::Changed);
    assert_eq!(exit_of(exited).await, Exit::Signal(9));
    assert_eq!(host.remove(&resource).unwrap(), Change::Unchanged);
    assert_eq!(host.ensure(&resource).unwrap(), Change::Changed);
    assert_ne!(pid(), Some(first));
    assert_eq!(host.vmm_starts(), 2);
}

#[tokio::test]
async fn signals_end_a_vmm_unless_they_are_harmless() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let vmm = lab.vmm(1);
    for name in ["STOP", "CONT", "17"] {
        assert_eq!(host.signal(&vmm, signal(name)).unwrap(), Change::Changed, "{name}");
        assert!(host.find(&vmm).unwrap().is_some(), "{name}");
    }
    for name in ["KILL", "TERM", "INT", "QUIT", "HUP"] {
        lab.start(&host, 1);
        let exited = host.exited(&vmm).unwrap();
        assert_eq!(host.signal(&vmm, signal(name)).unwrap(), Change::Changed);
        assert_eq!(exit_of(exited).await, Exit::Signal(signal(name).number()));
        assert_eq!(host.signal(&vmm, signal(name)).unwrap(), Change::Unchanged);
    }
}

#[tokio::test]
async fn each_behaviour_shows_on_the_console_and_in_the_exit() {
    use GuestScript::{DiesAfterBoot, FailsAt, IgnoresShutdown, Panics, Silent};
    let cases = [
        (FailsAt(Stage::Root), Some(Stage::Failed), Some(Exit::Code(0))),
        (Panics, Some(Stage::Start), Some(Exit::Code(0))),
        (Silent, None, None),
        (IgnoresShutdown, Some(Stage::Handover), None),
        (DiesAfterBoot, Some(Stage::Handover), Some(Exit::Code(1))),
    ];
    for (script, last, end) in cases {
        let lab = Lab::new();
        let host = lab.open_with(|options| options.guest = script);
        lab.boot(&host, 1);
        assert_eq!(stages(&lab.console(1)).last().copied(), last, "{script}");
        assert_eq!(host.find(&lab.vmm(1)).unwrap().is_some(), end.is_none(), "{script}");
        if let Some(end) = end {
            assert_eq!(exit_of(host.exited(&lab.vmm(1)).unwrap()).await, end, "{script}");
        }
    }
}

#[test]
fn a_deaf_guest_runs_on_and_can_be_killed() {
    let lab = Lab::new();
    let host = lab.open_with(|options| options.guest = GuestScript::IgnoresShutdown);
    lab.boot(&host, 1);
    host.request_shutdown(&lab.vmm(1).api_socket).unwrap();
    assert!(host.find(&lab.vmm(1)).unwrap().is_some());
    assert_eq!(host.signal(&lab.vmm(1), Signal::KILL).unwrap(), Change::Changed);
    assert_eq!(host.find(&lab.vmm(1)).unwrap(), None);
}

#[test]
fn a_vmm_that_dies_at_start_says_so_and_is_not_there() {
    let lab = Lab::new();
    let host = lab.open();
    host.set_guest(GuestScript::VmmDies);
    for resource in lab.network().into_iter().chain(lab.plan(1)) {
        let outcome = host.ensure(&resource);
        if resource.role() != Role::Vmm {
            let _change = outcome.unwrap();
            continue;
        }
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("it said: simulated VMM: could not start"), "{error}");
        let log = std::fs::read_to_string(error.log_path().unwrap()).unwrap();
        assert!(log.contains("could not start"), "{log}");
    }
    assert!(!roles(&host).contains(&Role::Vmm));
    host.set_guest(GuestScript::Normal);
    lab.boot(&host, 1);
}

#[tokio::test]
async fn a_vmm_can_die_by_itself() {
    let lab = Lab::new();
    let host = lab.open();
    lab.boot(&host, 1);
    let exited = host.exited(&lab.vmm(1)).unwrap();
    let socket = lab.vmm(1).api_socket;
    assert_eq!(host.crash_process(&socket, Exit::Signal(11)).unwrap(), Change::Changed);
    assert_eq!(exit_of(exited).await, Exit::Signal(11));
    assert_eq!(host.crash_process(&socket, Exit::Signal(11)).unwrap(), Change::Unchanged);
}

#[tokio::test]
async fn what_never_ran_has_ended() {
    let lab = Lab::new();
    let host = lab.open();
    assert_eq!(exit_of(host.exited(&lab.vmm(1)).unwrap()).await, Exit::Unknown);
}

#[tokio::test]
async fn guests_take_their_time_where_there_is_a_pace() {
    let lab = Lab::new();
    let pace = Duration::from_millis(100);
    let host = lab.open_with(|options| options.pace = Pace { boot: pace, shutdown: pace });
    let start = Instant::now();
    lab.boot(&host, 1);
    // The end was asked for after the boot began and comes as much later as the boot's end.
    let exited = host.exited(&lab.vmm(1)).unwrap();
    host.request_shutdown(&lab.vmm(1).api_socket).unwrap();
    assert_eq!(exit_of(exited).await, Exit::Code(0));
    assert!(start.elapsed() >= pace);
    assert_eq!(stages(&lab.console(1)).last(), Some(&Stage::Handover));
}

#[test]
fn a_simulator_with_a_guest_on_its_way_closes_at_once() {
    let lab = Lab::new();
    let hour = Duration::from_secs(3600);
    let host = lab.open_with(|options| options.pace = Pace { boot: hour, shutdown: hour });
    lab.boot(&host, 1);
    assert!(host.is_booted(&lab.vmm(1).api_socket));
    assert_eq!(stages(&lab.console(1)), [], "not at once");
    let start = Instant::now();
    drop(host);
    assert!(start.elapsed() < Duration::from_secs(10));
    // The next one takes the guest over, and lets it boot at its own pace.
    let host = lab.open();
    assert!(host.is_booted(&lab.vmm(1).api_socket));
    assert_eq!(stages(&lab.console(1)).last(), Some(&Stage::Handover));
}
