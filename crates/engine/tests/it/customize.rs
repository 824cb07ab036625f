//! Builds whose user works in them by hand, on a simulated host: however that ends, there is an image
//! or nothing.

use crate::build::{assert_images, request};
use crate::world::{GuestNetwork, LONG, World, error, finish, say_last};
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::id::OpId;
use banger_core::state::VmState;
use banger_core::vm::Purpose;
use banger_engine::{BuildImage, EngineError, Operation, Progress};
use banger_host::Exit;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The VM that it is done in.
const VM: &str = "build-dev";

/// Begins one.
fn begin(world: &World) -> Operation {
    world.engine.build_image(BuildImage { by_hand: true, ..request(world, "dev") })
}

/// Awaits a report; fails if it does not come.
async fn until(operation: &mut Operation, is_it: impl Fn(&Progress) -> bool) {
    let wait = async {
        while let Some(progress) = operation.progress.recv().await {
            if is_it(&progress) {
                return;
            }
            assert!(!matches!(progress, Progress::Failed(_)), "{progress:?}");
        }
        panic!("it has ended");
    };
    tokio::time::timeout(LONG, wait).await.expect("it does not come");
}

/// Begins one, up to the session of its user.
async fn enter(world: &World) -> (Operation, OpId) {
    let mut operation = begin(world);
    until(&mut operation, |it| matches!(it, Progress::Enterable(vm) if vm.as_str() == VM)).await;
    assert_eq!(world.state(VM), VmState::Running);
    assert!(world.engine.image("dev").is_err(), "it waits");
    let op = operation.id.clone();
    (operation, op)
}

fn begins(phase: &'static str) -> impl Fn(&Progress) -> bool {
    move |progress| matches!(progress, Progress::Begin(it) if it.to_string() == phase)
}

fn guest_ended(progress: &Progress) -> bool {
    matches!(progress, Progress::GuestEnded(vm) if vm.as_str() == VM)
}

/// Ends the VMM as its guest does.
fn end_guest(world: &World, exit: Exit) {
    let socket = world.engine.view(VM).unwrap().paths.api_socket;
    let _change = world.host.crash_process(&socket, exit).unwrap();
}

/// Awaits that there is no VM any more, without anybody who reads.
async fn until_gone(world: &World) {
    let is_over = async {
        while !world.engine.list().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, is_over).await.expect("it goes on without its user");
}

async fn phases(operation: Operation) -> Vec<String> {
    let outcome = finish(operation).await.unwrap();
    outcome.timings.iter().map(|(phase, _)| phase.to_string()).collect()
}

#[tokio::test]
async fn what_is_saved_is_an_image_whose_documents_say_that_it_was_done_by_hand() {
    let world = World::new().await;
    let (operation, op) = enter(&world).await;
    world.engine.save(&op).unwrap();
    let phases = phases(operation).await;
    assert!(phases.contains(&"wait for the work by hand".to_owned()), "{phases:?}");
    assert_images(&world, &["dev"], "saved").await;
    let rootfs = world.engine.image("dev").unwrap().record.rootfs;
    let manifest = fs::read(format!("{}.packages.json", rootfs.display())).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["by_hand"], true);
    assert_eq!(manifest["packages"].as_array().unwrap().len(), 5);
    assert!(rootfs.with_extension("ext4.spdx.json").exists());
}

#[tokio::test]
async fn what_is_discarded_leaves_nothing() {
    let world = World::new().await;
    let (operation, op) = enter(&world).await;
    world.engine.cancel(&op).unwrap();
    let failed = error(finish(operation).await);
    assert_eq!(failed.code(), ErrorCode::Interrupted, "{}", chain(&failed));
    assert!(chain(&failed).ends_with("the build was cancelled"), "{}", chain(&failed));
    assert_images(&world, &[], "discarded").await;
}

#[tokio::test]
async fn a_build_by_hand_ends_when_its_user_has_left_unless_they_have_saved() {
    for phase in ["wait for ssh", "install the packages", "wait for the work by hand"] {
        let world = World::new().await;
        let mut operation = begin(&world);
        until(&mut operation, begins(phase)).await;
        drop(operation);
        until_gone(&world).await;
        assert_images(&world, &[], phase).await;
    }
    let world = World::new().await;
    let (operation, op) = enter(&world).await;
    world.engine.save(&op).unwrap();
    drop(operation);
    until_gone(&world).await;
    assert_images(&world, &["dev"], "saved").await;
}

#[tokio::test]
async fn a_guest_that_its_user_has_shut_down_is_booted_to_be_saved() {
    let world = World::new().await;
    let (mut operation, op) = enter(&world).await;
    end_guest(&world, Exit::Code(0));
    until(&mut operation, guest_ended).await;
    assert_eq!(world.host.vmm_starts(), 1);
    world.engine.save(&op).unwrap();
    finish(operation).await.unwrap();
    assert_eq!(world.host.vmm_starts(), 2);
    assert_images(&world, &["dev"], "saved").await;
}

#[tokio::test]
async fn a_guest_that_its_user_has_shut_down_can_be_discarded() {
    let world = World::new().await;
    let (mut operation, op) = enter(&world).await;
    end_guest(&world, Exit::Code(0));
    until(&mut operation, guest_ended).await;
    world.engine.cancel(&op).unwrap();
    error(finish(operation).await);
    assert_images(&world, &[], "discarded").await;

    let (mut operation, _) = enter(&world).await;
    end_guest(&world, Exit::Code(0));
    until(&mut operation, guest_ended).await;
    finish(world.engine.delete(VM).unwrap()).await.unwrap();
    let failed = error(finish(operation).await);
    assert!(chain(&failed).contains("another request ended `build-dev`"), "{}", chain(&failed));
    assert_images(&world, &[], "deleted").await;
}

/// Firecracker has no device for a `poweroff`.
#[tokio::test]
async fn a_guest_that_is_down_while_its_vmm_runs_on_is_booted_too() {
    for words in ["Power down", "System halted", "Power off not available: System halted instead"] {
        let world = World::new().await;
        let (mut operation, op) = enter(&world).await;
        say_last(&world.engine.view(VM).unwrap(), words);
        until(&mut operation, guest_ended).await;
        assert_eq!(world.state(VM), VmState::Running);
        world.engine.save(&op).unwrap();
        finish(operation).await.unwrap();
        assert_eq!(world.host.vmm_starts(), 2);
        assert_images(&world, &["dev"], words).await;
    }
}

/// Its VMM has been ended when it is told to save.
#[tokio::test]
async fn a_guest_that_is_down_for_a_while_is_booted_too() {
    let network = Arc::new(GuestNetwork::default());
    let world = World::with_ports(|ports| ports.reach = network.clone()).await;
    let (mut operation, op) = enter(&world).await;
    network.is_silent.store(true, Ordering::SeqCst);
    say_last(&world.engine.view(VM).unwrap(), "Power down");
    until(&mut operation, guest_ended).await;
    world.until(VM, |view| view.vm.state == VmState::Stopped).await;
    network.is_silent.store(false, Ordering::SeqCst);
    world.engine.save(&op).unwrap();
    finish(operation).await.unwrap();
    assert_eq!(world.host.vmm_starts(), 2);
    assert_images(&world, &["dev"], "down").await;
}

#[tokio::test]
async fn who_stops_a_vm_whose_guest_is_down_ends_the_build() {
    let world = World::new().await;
    let (mut operation, op) = enter(&world).await;
    say_last(&world.engine.view(VM).unwrap(), "Power down");
    until(&mut operation, guest_ended).await;
    world.stop(VM).await.unwrap();
    let failed = error(finish(operation).await);
    assert!(chain(&failed).contains("another request ended `build-dev`"), "{}", chain(&failed));
    assert!(world.engine.save(&op).is_err());
    assert_eq!(world.host.vmm_starts(), 1);
    assert_images(&world, &[], "stopped").await;
}

#[tokio::test]
async fn a_guest_that_shuts_down_while_it_is_looked_at_is_booted_for_that() {
    for phase in ["list what is installed", "clean the guest"] {
        let world = World::new().await;
        let (mut operation, op) = enter(&world).await;
        world.engine.save(&op).unwrap();
        until(&mut operation, begins(phase)).await;
        end_guest(&world, Exit::Code(0));
        finish(operation).await.unwrap();
        assert_eq!(world.host.vmm_starts(), 2, "{phase}");
        assert_images(&world, &["dev"], phase).await;
    }
}

#[tokio::test]
async fn a_guest_that_dies_or_is_stopped_by_others_ends_the_build() {
    let world = World::new().await;
    let (operation, _) = enter(&world).await;
    end_guest(&world, Exit::Signal(9));
    let failed = error(finish(operation).await);
    assert_eq!(failed.code(), ErrorCode::GuestFailed, "{}", chain(&failed));
    assert!(chain(&failed).contains("signal 9"), "{}", chain(&failed));
    assert_images(&world, &[], "died").await;

    let (operation, _) = enter(&world).await;
    finish(world.engine.stop(VM, LONG).unwrap()).await.unwrap();
    let failed = error(finish(operation).await);
    assert!(chain(&failed).contains("another request ended `build-dev`"), "{}", chain(&failed));
    assert_images(&world, &[], "stopped").await;
}

#[tokio::test]
async fn only_a_build_that_waits_can_be_saved() {
    let world = World::new().await;
    let refused = |op: &OpId| {
        let refused: EngineError = world.engine.save(op).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidRequest);
        refused.to_string()
    };
    let mut operation = begin(&world);
    until(&mut operation, begins("wait for ssh")).await;
    let op = operation.id.clone();
    assert_eq!(refused(&op), format!("the build `{op}` does not wait for work by hand"));
    until(&mut operation, |it| matches!(it, Progress::Enterable(_))).await;
    world.engine.save(&op).unwrap();
    world.engine.save(&op).unwrap();
    finish(operation).await.unwrap();
    assert_eq!(refused(&op), format!("no build `{op}` is under way"));

    let mut ordinary = world.engine.build_image(request(&world, "other"));
    until(&mut ordinary, begins("wait for ssh")).await;
    assert!(refused(&ordinary.id).ends_with("does not wait for work by hand"));
    finish(ordinary).await.unwrap();
    assert_images(&world, &["dev", "other"], "both").await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_before_a_boot() {
    let world = World::new().await;
    let (first, op) = enter(&world).await;
    let refused = error(finish(begin(&world)).await);
    assert_eq!(refused.code(), ErrorCode::NameTaken, "{refused}");
    assert_eq!(world.host.vmm_starts(), 1);
    world.engine.save(&op).unwrap();
    finish(first).await.unwrap();
    let refused = error(finish(begin(&world)).await);
    assert_eq!(refused.code(), ErrorCode::NameTaken, "{refused}");
    assert_eq!(world.host.vmm_starts(), 1);
    assert_images(&world, &["dev"], "refused").await;
}

#[tokio::test]
async fn a_daemon_that_ends_meanwhile_leaves_nothing() {
    let world = World::new().await;
    let (operation, _) = enter(&world).await;
    world.engine.shutdown().await;
    assert_eq!(world.objects(), Vec::<String>::new());
    let failed = error(finish(operation).await);
    assert!(chain(&failed).contains("the daemon is shutting down"), "{}", chain(&failed));
    let world = world.restart().await;
    assert_images(&world, &[], "restarted").await;
}

#[tokio::test]
async fn what_fails_after_the_work_by_hand_keeps_the_work() {
    let (mut failures, mut kept) = (0, 0);
    for n in 1..=40 {
        let world = World::new().await;
        let (operation, op) = enter(&world).await;
        let context = format!("work:{n}");
        world.faults(&context);
        world.engine.save(&op).unwrap();
        let saved = finish(operation).await;
        world.faults("");
        failures += usize::from(saved.is_err());
        let names: &[&str] = if saved.is_ok() { &["dev"] } else { &[] };
        // Until its disk is the image's, the VM has it.
        if let Ok(view) = world.engine.view(VM) {
            assert_eq!(view.vm.purpose, Purpose::KeptBuild, "{context}");
            let hints = error(saved).hints();
            assert!(
                hints.iter().any(|hint| hint.contains("`banger vm ssh build-dev`")),
                "{hints:?}"
            );
            kept += 1;
            world.delete(VM).await.unwrap();
        }
        assert_images(&world, names, &context).await;
    }
    // A cache that stays is no reason to end it, nor is a second session that is refused.
    assert!(failures >= 10 && kept >= failures - 5, "{failures} steps were reached, {kept} kept");
}
