//! VMM processes. `ssh-agent -D -a <socket>` plays the VMM: it binds a socket and serves it.

use crate::scene::Scene;
use banger_core::error::{ErrorCode, Explain};
use banger_core::resource::{Resource, VmmProcess};
use banger_host::cmd::{find_program, spawn_detached};
use banger_host::{Change, Exit, Host, HostError, LinuxHost, Processes, Signal};
use rustix::process::{Pid, kill_process};
use std::fs::{self, File};
use std::future::Future;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

fn agent(scene: &Scene) -> VmmProcess {
    let (vm, paths) = scene.vm(1);
    scene.ensure_dirs(&vm);
    let socket = paths.api_socket.display().to_string();
    VmmProcess {
        vm,
        program: find_program("ssh-agent").expect("openssh-client is installed"),
        args: vec!["-D".into(), "-a".into(), socket],
        api_socket: paths.api_socket,
        stdout: paths.console_log,
        stderr: paths.vmm_log,
        identity: paths.identity,
    }
}

fn pid(scene: &Scene, vmm: &VmmProcess) -> Option<u32> {
    scene.host.find(vmm).unwrap().map(|view| view.pid)
}

/// Children of this process, dead or alive; a test has its process to itself under nextest, and
/// otherwise looks only for the pid it knows.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends in time")
    })
}

#[test]
fn a_vmm_is_started_once_seen_and_killed_without_a_trace() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    let resource = Resource::VmmProcess(vmm.clone());
    scene.ensure(&resource);
    UnixStream::connect(&vmm.api_socket).unwrap();
    let view = scene.host.find(&vmm).unwrap().unwrap();
    assert!(view.resident.0 > 0 && view.pid > 1);
    assert!(scene.keys().contains(&format!("vm/{}/vmm", vmm.vm)));
    // Another daemon, as after an upgrade, finds the same process.
    let next = LinuxHost::new(scene.layout.clone());
    assert_eq!(next.find(&vmm).unwrap().map(|view| view.pid), Some(view.pid));
    scene.remove(&resource);
    assert!(!exists(view.pid), "a zombie is left");
    assert!(!vmm.api_socket.exists() && !vmm.identity.exists());
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_vmm_has_a_session_of_its_own_and_no_file_of_the_daemons() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    // An inheritable descriptor, as a careless parent of the daemon may leave.
    let leak = File::create(scene.dir().join("leak")).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    scene.ensure(&Resource::VmmProcess(vmm.clone()));
    let pid = pid(&scene, &vmm).unwrap();
    let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    assert_eq!(rustix::process::getsid(Some(raw)).unwrap(), raw);
    // The program may close one of its own in between.
    let targets: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect();
    assert!(targets.contains(&"/dev/null".into()) && targets.contains(&vmm.stderr));
    assert!(!targets.iter().any(|target| target.ends_with("leak")), "{targets:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let blocked = status.lines().find(|line| line.starts_with("SigBlk:")).unwrap();
    assert!(blocked.ends_with("0000000000000000"), "{blocked}");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_vmm_that_dies_at_once_leaves_its_last_words_and_nothing_else() {
    let scene = Scene::new();
    let mut vmm = agent(&scene);
    fs::write(&vmm.stderr, "from an earlier start\n").unwrap();
    vmm.program = find_program("ls").unwrap();
    let error = scene.host.ensure(&Resource::VmmProcess(vmm.clone())).unwrap_err();
    let HostError::VmmDied { exit, log_tail, log_path, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*exit, Exit::Code(2));
    assert!(log_tail[0].contains("No such file or directory"), "{log_tail:?}");
    assert!(!fs::read_to_string(&vmm.stderr).unwrap().contains("earlier"));
    assert_eq!((log_path, error.code()), (&vmm.stderr, ErrorCode::Vmm));
    assert!(!vmm.identity.exists());
    assert_eq!(scene.host.find(&vmm).unwrap(), None);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_missing_vmm_is_a_missing_dependency() {
    let scene = Scene::new();
    let mut vmm = agent(&scene);
    vmm.program = "/nonexistent/qemu-system-x86_64".into();
    let error = scene.host.ensure(&Resource::VmmProcess(vmm)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MissingDependency);
    assert_eq!(error.hints(), ["install the Debian package `qemu-system-x86`"]);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn an_identity_of_another_time_or_boot_is_never_trusted() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    // A process that is not ours, under the pid that was written down.
    let stranger = scene.dir().join("stranger.sock");
    let log = || File::create(scene.dir().join("log")).unwrap();
    let args = ["-D".into(), "-a".into(), stranger.display().to_string()];
    let other = spawn_detached(&vmm.program, &args, log(), log()).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", other.pid)).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    for (start, boot) in [("1", boot.trim()), (start, "another"), (start, boot.trim())] {
        let text = format!(r#"{{"pid":{},"start_time":{start},"boot_id":"{boot}"}}"#, other.pid);
        fs::write(&vmm.identity, text).unwrap();
        assert_eq!(scene.host.find(&vmm).unwrap(), None);
        assert_eq!(scene.host.signal(&vmm, Signal::KILL).unwrap(), Change::Unchanged);
        scene.remove(&Resource::VmmProcess(vmm.clone()));
        let state = fs::read_to_string(format!("/proc/{}/stat", other.pid)).unwrap();
        assert!(!state.contains(") Z"), "the stranger was killed");
    }
    kill_process(
        Pid::from_raw(i32::try_from(other.pid).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    rustix::process::waitid(
        rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&other.pidfd)),
        rustix::process::WaitIdOptions::EXITED,
    )
    .unwrap();
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_vmm_whose_identity_was_lost_is_found_by_its_socket() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    let resource = Resource::VmmProcess(vmm.clone());
    scene.ensure(&resource);
    let started = pid(&scene, &vmm);
    fs::remove_dir_all(scene.layout.runtime_dir()).unwrap();
    assert_eq!(pid(&scene, &vmm), started);
    assert_eq!(scene.host.ensure(&resource).unwrap(), Change::Unchanged);
    assert!(scene.keys().contains(&format!("vm/{}/vmm", vmm.vm)));
    scene.remove(&resource);
    assert_eq!(pid(&scene, &vmm), None);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_stale_socket_does_not_stand_in_the_way() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    drop(UnixListener::bind(&vmm.api_socket).unwrap());
    scene.ensure(&Resource::VmmProcess(vmm.clone()));
    UnixStream::connect(&vmm.api_socket).unwrap();
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_signal_arrives_and_the_exit_is_told_to_all_who_ask() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    scene.ensure(&Resource::VmmProcess(vmm.clone()));
    let pid = pid(&scene, &vmm).unwrap();
    block_on(async {
        let first = scene.host.exited(&vmm).unwrap();
        let second = scene.host.exited(&vmm).unwrap();
        drop(scene.host.exited(&vmm).unwrap());
        // SIGALRM, which the program leaves alone at all times.
        let alarm: Signal = "14".parse().unwrap();
        assert_eq!(scene.host.signal(&vmm, alarm).unwrap(), Change::Changed);
        assert_eq!((first.await, second.await), (Exit::Signal(14), Exit::Signal(14)));
        // Asked again when it is long over.
        assert_eq!(scene.host.exited(&vmm).unwrap().await, Exit::Signal(14));
    });
    assert!(!exists(pid), "a zombie is left");
    assert_eq!(scene.host.signal(&vmm, Signal::TERM).unwrap(), Change::Unchanged);
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn removing_tells_a_waiter_about_the_kill() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    scene.ensure(&Resource::VmmProcess(vmm.clone()));
    block_on(async {
        let exited = scene.host.exited(&vmm).unwrap();
        scene.remove(&Resource::VmmProcess(vmm.clone()));
        assert_eq!(exited.await, Exit::Signal(9));
    });
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn a_vmm_that_ended_by_itself_does_not_count_and_can_be_started_again() {
    let scene = Scene::new();
    let vmm = agent(&scene);
    let resource = Resource::VmmProcess(vmm.clone());
    scene.ensure(&resource);
    let first = pid(&scene, &vmm).unwrap();
    let raw = Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    kill_process(raw, rustix::process::Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while pid(&scene, &vmm).is_some() {
        assert!(Instant::now() < deadline);
    }
    assert!(!exists(first), "a zombie is left");
    assert!(!scene.keys().contains(&format!("vm/{}/vmm", vmm.vm)));
    scene.ensure(&resource);
    assert_ne!(pid(&scene, &vmm), Some(first));
    scene.clear().unwrap();
    scene.finish();
}
