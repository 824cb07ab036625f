//! The file: what outlives the daemon, and what does not matter to it.

use super::*;
use std::io::Write;

fn lines(lab: &Lab) -> usize {
    std::fs::read_to_string(lab.journal()).unwrap().lines().count()
}

fn append(lab: &Lab, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(lab.journal()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn objects_and_processes_outlive_the_daemon() {
    let lab = Lab::new();
    let host = lab.open();
    lab.boot(&host, 1);
    lab.start(&host, 2);
    let before = host.inventory().unwrap();
    let pid = host.find(&lab.vmm(1)).unwrap().expect("it runs").pid;
    drop(host);

    let host = lab.open();
    assert_eq!(host.inventory().unwrap(), before);
    assert_eq!(host.find(&lab.vmm(1)).unwrap().expect("it runs on").pid, pid);
    assert!(host.is_booted(&lab.vmm(1).api_socket) && !host.is_booted(&lab.vmm(2).api_socket));
    for resource in lab.network().into_iter().chain(lab.plan(1)) {
        let is_rewritten = resource.role() == Role::Initrd;
        let change = host.ensure(&resource).unwrap();
        assert_eq!(change == Change::Changed, is_rewritten, "{resource:?}");
    }
    assert_eq!(host.vmm_starts(), 0);
    // It is another process's child, so nobody is told how it ends.
    let exited = host.exited(&lab.vmm(1)).unwrap();
    host.request_shutdown(&lab.vmm(1).api_socket).unwrap();
    assert_eq!(exited.await, Exit::Unknown);
    // Pids are not given out twice.
    let _change = host.ensure(&lab.resource(1, Role::Vmm)).unwrap();
    let others = [1, 2].map(|n| host.find(&lab.vmm(n)).unwrap().expect("it runs").pid);
    assert!(!others.contains(&pid) && others[0] != others[1], "{others:?}");
}

#[test]
fn a_behaviour_outlives_the_daemon_with_its_vmm() {
    use banger_core::guest::Stage;
    for script in [GuestScript::FailsAt(Stage::WorkDisk), GuestScript::IgnoresShutdown] {
        let lab = Lab::new();
        lab.start(&lab.open_with(|options| options.guest = script), 1);
        let host = lab.open();
        host.boot(&lab.vmm(1).api_socket).unwrap();
        let last = if script == GuestScript::IgnoresShutdown { "handover" } else { "failed" };
        assert!(lab.console(1).contains(&format!("banger-init: {last}")), "{script}");
    }
}

#[test]
fn a_torn_last_line_is_dropped() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let before = host.inventory().unwrap();
    drop(host);
    let whole = std::fs::read_to_string(lab.journal()).unwrap();
    append(&lab, "{\"gone\":{\"key\":\"instance/bri");
    let host = lab.open();
    assert_eq!(host.inventory().unwrap(), before);
    assert_eq!(host.remove(&lab.resource(1, Role::Tap)).unwrap(), Change::Changed);
    drop(host);
    assert_eq!(lab.open().inventory().unwrap().len(), before.len() - 1);
    // Any prefix opens, and what it holds is a prefix of the truth.
    for end in (0..whole.len()).step_by(13) {
        std::fs::write(lab.journal(), &whole[..end]).unwrap();
        let found = lab.open().inventory().unwrap();
        assert!(found.iter().all(|seen| before.contains(seen)), "{end}");
    }
}

#[test]
fn a_file_that_is_not_the_simulators_is_refused_and_left_alone() {
    let lab = Lab::new();
    std::fs::write(lab.journal(), "otter\n").unwrap();
    let cause = |error: HostError| {
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        format!("{error}: {cause}")
    };
    let error = SimHost::open(lab.layout.clone(), lab.options()).unwrap_err();
    assert!(cause(error).ends_with("its first line is not `{\"banger_sim_host\":1}`"));
    assert_eq!(std::fs::read(lab.journal()).unwrap(), b"otter\n");

    std::fs::write(lab.journal(), "{\"banger_sim_host\":1}\n{\"serial\":1}\notter\n").unwrap();
    let error = SimHost::open(lab.layout.clone(), lab.options()).unwrap_err();
    assert!(cause(error).ends_with("line 3 is not an entry"));
}

#[test]
fn the_file_is_rewritten_when_it_is_opened_and_when_it_is_long() {
    let lab = Lab::new();
    let host = lab.open();
    let bridge = lab.resource(1, Role::Bridge);
    for _ in 0..100 {
        let _changes = (host.ensure(&bridge).unwrap(), host.remove(&bridge).unwrap());
    }
    assert_eq!(lines(&lab), 202);
    drop(host);
    let host = lab.open();
    assert_eq!(lines(&lab), 2);
    for _ in 0..5000 {
        let _changes = (host.ensure(&bridge).unwrap(), host.remove(&bridge).unwrap());
    }
    assert!(lines(&lab) < 5000);
    let _change = host.ensure(&bridge).unwrap();
    drop(host);
    assert_eq!(roles(&lab.open()), [Role::Bridge]);
}

#[test]
fn the_file_holds_no_secret_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let content = std::fs::read_to_string(lab.journal()).unwrap();
    // The payload of the tests' initrd, as text and as JSON has bytes.
    assert!(!content.contains("SECRET") && !content.contains("83,69,67"), "{content}");
    let mode = std::fs::metadata(lab.journal()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_earlier_simulator_cannot_disturb_a_later_one() {
    let lab = Lab::new();
    let earlier = lab.open();
    lab.start(&earlier, 1);
    let later = lab.open();
    let before = later.inventory().unwrap();
    let _change = earlier.remove(&lab.resource(1, Role::Tap)).unwrap();
    drop((earlier, later));
    assert_eq!(lab.open().inventory().unwrap(), before);
}

#[test]
fn a_restart_of_the_host_leaves_only_files() {
    let lab = Lab::new();
    let host = lab.open();
    lab.boot(&host, 1);
    host.reboot().unwrap();
    let files = [Role::VmDir, Role::RootCow, Role::RootTail, Role::WorkDisk, Role::Initrd];
    assert_eq!(roles(&host), files);
    assert!(lab.layout.vm(&vm_id(1)).dir.is_dir());
    assert!(!lab.layout.vm(&vm_id(1)).runtime.exists());
    drop(host);
    assert_eq!(roles(&lab.open()), files);
}
