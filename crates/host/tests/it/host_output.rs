//! What a VMM writes without end. `yes` plays the guest that does: it is detached from the daemon
//! as a VMM is, with its standard output appended to the console's log.

use crate::scene::Scene;
use banger_core::names::log_before;
use banger_core::resource::{Resource, VmmProcess};
use banger_host::cmd::{Spawned, find_program, spawn_detached};
use banger_host::raw_log::{HEAD, TAIL, read_kept};
use banger_host::{Change, Host, Processes};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// What is there after a cut at best: what is kept, and the little that was written meanwhile.
const LITTLE: u64 = 16 << 20;

fn talker(scene: &Scene) -> (VmmProcess, Spawned) {
    let (vm, paths) = scene.vm(1);
    scene.ensure_dirs(&vm);
    let vmm = VmmProcess {
        vm,
        program: find_program("yes").unwrap(),
        args: vec!["the guest prints and prints".to_owned()],
        api_socket: paths.api_socket,
        stdout: paths.console_log,
        stderr: paths.vmm_log,
        identity: paths.identity,
    };
    let log = |path: &Path| OpenOptions::new().append(true).create(true).open(path).unwrap();
    let spawned =
        spawn_detached(&vmm.program, &vmm.args, log(&vmm.stdout), log(&vmm.stderr)).unwrap();
    (vmm, spawned)
}

fn end(talker: &Spawned) {
    pidfd_send_signal(&talker.pidfd, Signal::KILL).unwrap();
    waitid(WaitId::PidFd(talker.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn a_guest_that_prints_without_end_fills_nothing() {
    let scene = Scene::new();
    let (vmm, talker) = talker(&scene);
    let deadline = Instant::now() + PATIENCE;
    let (mut cuts, mut least) = (0, u64::MAX);
    while length(&vmm.stdout) < 256 << 20 {
        assert!(Instant::now() < deadline, "only {} bytes came", length(&vmm.stdout));
        if scene.host.bound_output(&vmm).unwrap() == Change::Changed {
            cuts += 1;
            if length(&vmm.stdout) > 128 << 20 {
                least = least.min(allocated(&vmm.stdout));
            }
        }
    }
    let before = length(&vmm.stdout);
    while length(&vmm.stdout) == before {
        assert!(Instant::now() < deadline, "the writer has stopped");
    }
    end(&talker);
    // The writer is fast, and a busy machine lets it write much between the cut and the look.
    assert!(cuts > 1 && least < LITTLE, "{cuts} cuts, {least} bytes at best");
    // What is kept in the end: the first and the last words, and a line that says what is missing.
    // The VMM does not run, so that removing it is no change.
    assert_eq!(scene.host.remove(&Resource::VmmProcess(vmm.clone())).unwrap(), Change::Unchanged);
    assert!(allocated(&vmm.stdout) <= HEAD + TAIL + (256 << 10), "{}", allocated(&vmm.stdout));
    let text = String::from_utf8(read_kept(&vmm.stdout).unwrap()).unwrap();
    assert!(text.starts_with("the guest prints and prints\nthe guest "));
    // Killed in the middle of a write, it may have left half a line.
    assert_eq!(text.lines().rev().nth(1), Some("the guest prints and prints"));
    assert!(text.contains(" are left out here]\n"));
    assert!(!text.contains('\0'));
    scene.clear().unwrap();
    scene.finish();
}

#[test]
fn what_was_written_while_nobody_looked_is_cut_when_the_next_boot_begins() {
    let scene = Scene::new();
    let (mut vmm, talker) = talker(&scene);
    let deadline = Instant::now() + PATIENCE;
    while length(&vmm.stdout) < 64 << 20 {
        assert!(Instant::now() < deadline, "only {} bytes came", length(&vmm.stdout));
    }
    end(&talker);
    vmm.program = find_program("ssh-agent").unwrap();
    vmm.args = vec!["-D".into(), "-a".into(), vmm.api_socket.display().to_string()];
    scene.ensure(&Resource::VmmProcess(vmm.clone()));
    let said = fs::read_to_string(&vmm.stdout).unwrap();
    assert!(!said.contains("the guest prints"), "the new boot has a log of its own: {said}");
    let before = log_before(&vmm.stdout);
    assert!(allocated(&before) <= HEAD + TAIL + (256 << 10), "{}", allocated(&before));
    assert!(read_kept(&before).unwrap().starts_with(b"the guest prints"));
    scene.clear().unwrap();
    scene.finish();
}
