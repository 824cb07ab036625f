//! What each request does, and what it leaves.

use crate::world::{GuestNetwork, LONG, World, error, finish, new_vm, say_last, to_ssh};
use banger_core::error::Explain;
use banger_core::resource::Resource;
use banger_core::spec::SpecChange;
use banger_core::state::{Readiness, VmState};
use banger_core::unit::MiB;
use banger_core::vm::OverlayMethod;
use banger_engine::{LastEnd, NewVm, StartOptions};
use banger_host::{Change, Exit, GuestScript, Host, Signal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn a_vm_is_created_stopped_started_and_deleted() {
    for overlay in [OverlayMethod::Copy, OverlayMethod::Reflink, OverlayMethod::DmSnapshot] {
        let world = World::with(overlay, "172.16.0.1/24").await;
        let outcome = world.create("otter").await.unwrap();
        let view = outcome.vm.unwrap();
        assert_eq!((view.vm.state, view.readiness), (VmState::Running, Readiness::Ssh));
        assert!(view.pid.is_some());
        world.assert_agree("running").await;

        assert!(world.stop("otter").await.unwrap().notes.is_empty());
        assert_eq!(world.state("otter"), VmState::Stopped);
        let id = &view.vm.id;
        let kept: Vec<String> = world.objects();
        assert!(kept.iter().all(|key| key.starts_with(&format!("vm/{id}/"))), "{kept:?}");
        assert!(kept.contains(&format!("vm/{id}/work_disk")), "{kept:?}");
        assert!(!kept.contains(&format!("vm/{id}/tap")), "{kept:?}");

        assert!(world.start("otter").await.unwrap().changed);
        world.delete("otter").await.unwrap();
        world.assert_empty("deleted").await;
    }
}

#[tokio::test]
async fn asking_again_changes_nothing() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    assert!(!world.start("otter").await.unwrap().changed);
    assert!(world.stop("otter").await.unwrap().changed);
    assert!(!world.stop("otter").await.unwrap().changed);
}

#[tokio::test]
async fn a_second_vm_of_the_name_is_refused_and_the_first_is_untouched() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let refused = error(world.create("otter").await);
    assert_eq!(refused.to_string(), "a VM called `otter` exists already");
    assert!(refused.hints()[0].contains("banger vm delete otter"));
    assert_eq!(world.state("otter"), VmState::Running);
    assert_eq!(world.engine.list().len(), 1);
}

#[tokio::test]
async fn the_subnet_runs_out_with_a_clear_word_and_a_freed_address_serves_again() {
    let world = World::with(OverlayMethod::Copy, "172.16.0.1/30").await;
    world.create("one").await.unwrap();
    let full = error(world.create("two").await);
    assert_eq!(full.to_string(), "all 1 addresses of 172.16.0.1/30 are taken");
    world.delete("one").await.unwrap();
    world.create("two").await.unwrap();
}

#[tokio::test]
async fn names_are_generated_when_none_is_given() {
    let world = World::new().await;
    for _ in 0..40 {
        finish(world.engine.create(NewVm::default())).await.unwrap();
    }
    assert_eq!(world.engine.list().len(), 40);
}

#[tokio::test]
async fn a_guest_that_does_not_listen_is_killed_and_reported_as_killed() {
    let world = World::new().await;
    world.host.set_guest(GuestScript::IgnoresShutdown);
    world.create("otter").await.unwrap();
    let stop = world.engine.stop("otter", Duration::from_millis(30)).unwrap();
    let notes = finish(stop).await.unwrap().notes;
    assert_eq!(notes, ["`otter` was killed: the guest did not end within 0 s"]);
    assert_eq!(world.state("otter"), VmState::Stopped);
    world.assert_agree("killed").await;
}

#[tokio::test]
async fn kill_cuts_a_stop_short() {
    let world = World::new().await;
    world.host.set_guest(GuestScript::IgnoresShutdown);
    world.create("otter").await.unwrap();
    let stop = world.engine.stop("otter", LONG * 10).unwrap();
    world.until("otter", |view| view.vm.state == VmState::Stopping).await;
    let kill = world.engine.kill("otter", Signal::KILL).unwrap();
    let notes = finish(stop).await.unwrap().notes;
    assert_eq!(notes, ["`otter` was killed: another request cut the wait short"]);
    // By its turn the VM is stopped, which is what a kill is for.
    let answer = finish(kill).await;
    assert!(answer.is_err() || !answer.unwrap().changed);
    assert_eq!(world.state("otter"), VmState::Stopped);
}

#[tokio::test]
async fn a_killed_vmm_is_noticed_cleaned_up_and_named_as_the_reason() {
    let world = World::new().await;
    let view = world.create("otter").await.unwrap().vm.unwrap();
    let _change = world.host.crash_process(&view.paths.api_socket, Exit::Signal(9)).unwrap();
    let view = world.until("otter", |view| view.vm.state == VmState::Stopped).await;
    assert_eq!(view.vm.last_error.as_deref(), Some("the VMM ended with signal 9"));
    assert_eq!((view.readiness, view.pid), (Readiness::None, None));
    world.assert_agree("crashed").await;
    world.start("otter").await.unwrap();
}

#[tokio::test]
async fn a_guest_that_shuts_down_in_good_order_is_stopped_without_an_error() {
    let world = World::new().await;
    let view = world.create("otter").await.unwrap().vm.unwrap();
    world.until("otter", |view| view.readiness == Readiness::Ssh).await;
    let _change = world.host.crash_process(&view.paths.api_socket, Exit::Code(0)).unwrap();
    let view = world.until("otter", |view| view.vm.state == VmState::Stopped).await;
    assert_eq!(view.vm.last_error, None);
    world.assert_agree("ended").await;
}

/// Firecracker has no device for a `poweroff`.
#[tokio::test]
async fn the_vmm_of_a_guest_that_is_down_is_ended() {
    for words in ["Power down", "Power off not available: System halted instead"] {
        let network = Arc::new(GuestNetwork::default());
        let world = World::with_ports(|ports| ports.reach = network.clone()).await;
        let view = world.create("otter").await.unwrap().vm.unwrap();
        network.is_silent.store(true, Ordering::SeqCst);
        say_last(&view, words);
        let view = world.until("otter", |view| view.vm.state == VmState::Stopped).await;
        assert_eq!((view.vm.last_error, view.pid), (None, None), "{words}");
        assert_eq!(view.last_end, Some(LastEnd::ByItself), "{words}");
        world.assert_agree(words).await;
    }
}

#[tokio::test]
async fn a_guest_that_only_says_that_it_is_down_goes_on() {
    let network = Arc::new(GuestNetwork::default());
    let world = World::with_ports(|ports| ports.reach = network.clone()).await;
    let before = world.create("otter").await.unwrap().vm.unwrap();
    say_last(&before, "System halted");
    // The second question comes after the first answer.
    let asked = async {
        while network.asked.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("the guest is asked whether it is there");
    let after = world.engine.view("otter").unwrap();
    assert_eq!((after.vm.state, after.pid), (VmState::Running, before.pid));
    assert!(world.stop("otter").await.unwrap().changed);
}

#[tokio::test]
async fn a_guest_that_fails_fails_the_create_and_leaves_nothing_but_its_log() {
    for script in [
        GuestScript::Panics,
        GuestScript::FailsAt(banger_core::guest::Stage::Root),
        GuestScript::VmmDies,
    ] {
        let world = World::new().await;
        world.host.set_guest(script);
        let failed = error(world.create("otter").await);
        world.assert_empty(&format!("{script}")).await;
        let log = failed.log_path().unwrap_or_else(|| panic!("{script} names no log: {failed}"));
        assert!(log.exists(), "{script}: {}", log.display());
    }
}

#[tokio::test]
async fn a_wait_that_runs_out_says_what_was_reached_and_leaves_the_vm_alone() {
    let world = World::new().await;
    world.host.set_guest(GuestScript::Silent);
    let start = StartOptions { wait: Readiness::Ssh, timeout: Duration::from_millis(50) };
    let create = world.engine.create(NewVm { start: Some(start), ..new_vm("otter") });
    let late = error(finish(create).await);
    assert_eq!(
        late.to_string(),
        "`otter` was not ready within 0 s; it reached `vmm` and goes on booting"
    );
    assert_eq!(world.state("otter"), VmState::Running);
    world.assert_agree("late").await;
}

#[tokio::test]
async fn a_stop_during_the_wait_for_ssh_ends_the_create() {
    let world = World::new().await;
    world.host.set_guest(GuestScript::Silent);
    let create = world.engine.create(new_vm("otter"));
    let wait = async {
        while !world.engine.list().iter().any(|view| view.vm.state == VmState::Running) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
    world.delete("otter").await.unwrap();
    let ended = error(finish(create).await);
    assert_eq!(ended.to_string(), "the start of `otter` was ended by another request");
    world.assert_empty("deleted").await;
}

#[tokio::test]
async fn set_changes_the_next_start_and_refuses_to_shrink() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let disk =
        |mebibytes| SpecChange { work_disk: Some(MiB::of(mebibytes)), ..SpecChange::default() };
    let set = world.engine.set("otter", disk(9000)).unwrap();
    let outcome = finish(set).await.unwrap();
    assert_eq!(outcome.notes, ["the new sizes take effect when `otter` starts again"]);
    let refused = error(finish(world.engine.set("otter", disk(4096)).unwrap()).await);
    assert_eq!(refused.to_string(), "the work disk cannot shrink from 9000 MiB to 4 GiB");
    world.stop("otter").await.unwrap();
    world.start("otter").await.unwrap();
    let path = world.engine.view("otter").unwrap().paths.work_disk;
    assert_eq!(world.host.disk_size(&path), Some(MiB::of(9000).bytes()));
}

#[tokio::test]
async fn a_root_disk_grows_at_the_next_start_over_any_overlay() {
    for overlay in [OverlayMethod::Copy, OverlayMethod::Reflink, OverlayMethod::DmSnapshot] {
        let world = World::with(overlay, "172.16.0.1/24").await;
        world.create("otter").await.unwrap();
        let paths = world.engine.view("otter").unwrap().paths;
        let sizes = || {
            [&paths.root_clone, &paths.root_cow, &paths.root_tail]
                .map(|path| world.host.disk_size(path).map(|size| size.0))
        };
        let before = sizes();
        let outcome = finish(world.engine.set("otter", root(9)).unwrap()).await.unwrap();
        assert_eq!(outcome.notes, ["the new sizes take effect when `otter` starts again"]);
        let refused = error(finish(world.engine.set("otter", root(8)).unwrap()).await);
        assert_eq!(refused.to_string(), "the root overlay cannot shrink from 9 GiB to 8 GiB");
        world.stop("otter").await.unwrap();
        world.start("otter").await.unwrap();
        // The simulated image measures 4 GiB.
        let expected = match overlay {
            OverlayMethod::DmSnapshot => [None, before[1], Some(5 << 30)],
            _ => [Some(9 << 30), None, None],
        };
        assert_eq!(sizes(), expected, "{overlay:?}");
        world.assert_agree("grown").await;
        world.delete("otter").await.unwrap();
        world.assert_empty("deleted").await;
    }
}

#[tokio::test]
async fn a_disk_that_a_failed_start_added_stays_for_the_guest_may_have_grown_into_it() {
    let world = World::with(OverlayMethod::DmSnapshot, "172.16.0.1/24").await;
    world.create_without_tail("otter").await;
    let before = world.objects();
    finish(world.engine.set("otter", root(8)).unwrap()).await.unwrap();
    world.faults("ensure:root_snapshot:1");
    assert!(world.start("otter").await.is_err());
    assert_eq!(world.objects(), before, "no VMM was started");
    world.faults("boot:1");
    assert!(world.start("otter").await.is_err());
    let id = world.engine.view("otter").unwrap().vm.id;
    let mut after = before;
    after.push(format!("vm/{id}/root_tail"));
    after.sort();
    let mut objects = world.objects();
    objects.sort();
    assert_eq!(objects, after);
    assert_eq!(world.state("otter"), VmState::Stopped);
    world.assert_agree("a failed start").await;
    world.start("otter").await.unwrap();
    world.delete("otter").await.unwrap();
    world.assert_empty("deleted").await;
}

fn root(gibibytes: u32) -> SpecChange {
    SpecChange { overlay: Some(MiB::of(gibibytes * 1024)), ..SpecChange::default() }
}

#[tokio::test]
async fn nat_is_switched_while_the_vm_runs() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let ip = world.engine.view("otter").unwrap().vm.identity.ip;
    assert_eq!(world.host.nat_guests(), [ip]);
    let off = SpecChange { nat: Some(false), ..SpecChange::default() };
    let outcome = finish(world.engine.set("otter", off).unwrap()).await.unwrap();
    assert!(outcome.notes.is_empty());
    assert_eq!(world.host.nat_guests(), []);
    assert_eq!(world.state("otter"), VmState::Running);
}

#[tokio::test]
async fn many_vms_start_and_go_at_once_and_the_network_goes_with_the_last() {
    let world = World::new().await;
    let names: Vec<String> = (0..20).map(|n| format!("vm-{n}")).collect();
    let creates: Vec<_> = names.iter().map(|name| world.engine.create(new_vm(name))).collect();
    for create in creates {
        finish(create).await.unwrap();
    }
    assert_eq!(world.host.nat_guests().len(), 20);
    world.assert_agree("all running").await;
    let deletes: Vec<_> = names.iter().map(|name| world.engine.delete(name).unwrap()).collect();
    for delete in deletes {
        finish(delete).await.unwrap();
    }
    world.assert_empty("all deleted").await;
}

#[tokio::test]
async fn a_daemon_that_starts_again_takes_up_what_runs() {
    let world = World::new().await;
    let before = world.create("otter").await.unwrap().vm.unwrap();
    let world = world.restart().await;
    let after = world.until("otter", |view| view.readiness == Readiness::Ssh).await;
    assert_eq!((after.vm.state, after.pid), (VmState::Running, before.pid));
    assert_eq!(after.vm.identity, before.vm.identity);
    world.assert_agree("taken up").await;
    world.stop("otter").await.unwrap();
    assert_eq!(world.state("otter"), VmState::Stopped);
    world.assert_agree("stopped").await;
}

#[tokio::test]
async fn after_a_power_cut_the_vms_are_stopped_and_start_again() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    world.host.reboot().unwrap();
    let world = world.restart().await;
    let view = world.engine.view("otter").unwrap();
    assert_eq!(view.vm.state, VmState::Stopped);
    world.assert_agree("after the cut").await;
    finish(world.engine.start("otter", to_ssh()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_gone_is_not_replaced_by_an_empty_one() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    world.stop("otter").await.unwrap();
    let vm = world.engine.view("otter").unwrap();
    let path = vm.paths.work_disk;
    let disk = Resource::Ext4 { vm: vm.vm.id, path: path.clone(), size: MiB::of(8192).bytes() };
    assert_eq!(world.host.remove(&disk).unwrap(), Change::Changed);
    let lost = error(world.start("otter").await);
    let wanted = format!("`otter` has lost a disk: `{}` does not exist", path.display());
    assert_eq!(lost.to_string(), wanted);
    assert_eq!(world.state("otter"), VmState::Stopped);
    assert_eq!(world.host.ensure(&disk).unwrap(), Change::Changed);
    world.start("otter").await.expect("with the file back it starts");
}

#[tokio::test]
async fn a_guest_that_shuts_down_during_the_wait_is_the_guests_own_doing() {
    let world = World::new().await;
    world.host.set_guest(GuestScript::Silent);
    let create = world.engine.create(new_vm("otter"));
    let running = async {
        loop {
            let list = world.engine.list();
            if let Some(view) = list.iter().find(|view| view.vm.state == VmState::Running) {
                return view.paths.api_socket.clone();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let socket = tokio::time::timeout(LONG, running).await.unwrap();
    let _change = world.host.crash_process(&socket, Exit::Code(0)).unwrap();
    let failed = error(finish(create).await);
    assert_eq!(
        failed.to_string(),
        "`otter` ended while it booted: the guest ended before its init was running"
    );
    world.assert_empty("failed").await;
}

#[tokio::test]
async fn restart_starts_a_stopped_vm_and_restarts_a_running_one() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let first = world.engine.view("otter").unwrap().pid;
    let restart = || world.engine.restart("otter", LONG, to_ssh()).unwrap();
    let view = finish(restart()).await.unwrap().vm.unwrap();
    assert_ne!(view.pid, first);
    world.stop("otter").await.unwrap();
    assert_eq!(finish(restart()).await.unwrap().vm.unwrap().vm.state, VmState::Running);
}

#[tokio::test]
async fn kill_of_a_stopped_vm_is_refused() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    world.stop("otter").await.unwrap();
    let refused = error(finish(world.engine.kill("otter", Signal::KILL).unwrap()).await);
    assert_eq!(refused.to_string(), "cannot kill `otter` while it is stopped");
    assert_eq!(refused.hints(), ["`banger vm start otter` starts it"]);
}

#[tokio::test]
async fn the_known_hosts_file_has_exactly_the_vms_that_exist() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let access = world.engine.ssh_access("otter").unwrap();
    let text = std::fs::read_to_string(&access.known_hosts).unwrap();
    let names = format!("{},otter.vm,*.otter.vm", access.host_key_alias);
    let line = format!("{names} {}\n", access.view.vm.identity.host_key.public);
    assert_eq!(text, line);
    world.delete("otter").await.unwrap();
    assert_eq!(std::fs::read_to_string(&access.known_hosts).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn vms_that_are_made_at_once_are_all_in_the_known_hosts_file() {
    let world = World::new().await;
    let created: Vec<_> = (0..24)
        .map(|n| {
            let name = Some(format!("vm-{n}").parse().unwrap());
            world.engine.create(NewVm { name, ..NewVm::default() })
        })
        .collect();
    for operation in created {
        finish(operation).await.unwrap();
    }
    let known = world.engine.ssh_access("vm-0").unwrap().known_hosts;
    assert_eq!(std::fs::read_to_string(known).unwrap().lines().count(), 24);
}
