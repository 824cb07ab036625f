//! The VM of a build, as others see it while the build goes on and when it is over.

use crate::build::{assert_images, keeping, request};
use crate::gate::{Gate, Step};
use crate::world::{IMAGES, LONG, World, error, finish, to_ssh};
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::forward::{Forward, ForwardChange};
use banger_core::spec::SpecChange;
use banger_core::state::{Request, VmState};
use banger_core::unit::MiB;
use banger_engine::{
    BuildImage, EngineError, ImageBuildError, KeptVm, Operation, OperationError, Outcome,
};
use banger_host::{Exit, Signal};
use std::collections::BTreeSet;
use tokio::sync::mpsc::UnboundedReceiver;

/// A world in which each step of a build waits for the test.
async fn gated() -> (World, UnboundedReceiver<Step>) {
    let (gate, steps) = Gate::new();
    (World::with_ports(|ports| gate.guard(ports)).await, steps)
}

/// Follows a build to its end; before each step, something else is done.
async fn build_while(
    world: &World,
    request: BuildImage,
    steps: &mut UnboundedReceiver<Step>,
    mut act: impl AsyncFnMut(&str),
) -> Result<Outcome, Box<OperationError>> {
    let build = finish(world.engine.build_image(request));
    tokio::pin!(build);
    loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => act(&step.name).await,
            result = &mut build => return result,
        }
    }
}

/// What leads to another guest on the VM's disk, or to another VM than the build began with.
const CHANGES: [&str; 4] = ["start", "restart", "set", "forward"];

fn change(world: &World, verb: &str) -> Operation {
    let (engine, name) = (&world.engine, "build-dev");
    let memory = SpecChange { memory: Some(MiB::of(4096)), ..SpecChange::default() };
    let port = "8080:80".parse::<Forward>().unwrap().from;
    let operation = match verb {
        "start" => engine.start(name, to_ssh()),
        "restart" => engine.restart(name, LONG, to_ssh()),
        "set" => engine.set(name, memory),
        _ => engine.forward(name, ForwardChange::Remove(port)),
    };
    operation.unwrap()
}

#[tokio::test]
async fn at_each_step_of_a_build_its_vm_is_the_builds_alone() {
    let (world, mut steps) = gated().await;
    let mut seen = BTreeSet::new();
    let built = build_while(&world, request(&world, "dev"), &mut steps, async |step| {
        seen.insert(step.to_owned());
        for verb in CHANGES {
            let refused = error(finish(change(&world, verb)).await);
            let text = format!("cannot {verb} `build-dev` while an image is made of it");
            assert_eq!(refused.to_string(), text, "{step}");
            assert_eq!(refused.code(), ErrorCode::WrongState);
            let hint = "wait until that is over, or end it with `banger vm delete build-dev`";
            assert_eq!(refused.hints(), [hint]);
        }
    });
    built.await.unwrap();
    for step in ["boot", "enter", "run apt-get", "shut down", "check", "copy", "take", "digest"] {
        assert!(seen.contains(step), "{step}: {seen:?}");
    }
    assert_images(&world, &["dev"], "built").await;
}

/// What ends a VM.
const ENDS: [&str; 3] = ["stop", "kill", "delete"];

fn end(world: &World, verb: &str) -> Operation {
    let (engine, name) = (&world.engine, "build-dev");
    let operation = match verb {
        "stop" => engine.stop(name, LONG),
        "kill" => engine.kill(name, Signal::KILL),
        _ => engine.delete(name),
    };
    operation.unwrap()
}

/// What a failed build says, less that it failed, and the VM that it has left.
fn failure(error: EngineError) -> (EngineError, Option<KeptVm>) {
    match error {
        EngineError::ImageBuild(ImageBuildError::Failed { source, kept, .. }) => (*source, kept),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_ends_the_vm_ends_the_build_with_that_reason_and_nothing_is_kept() {
    let running = ["boot", "enter", "run apt-get", "shut down"].map(|step| (step, &ENDS[..]));
    // There it runs no more.
    let stopped = ["check", "copy", "take"].map(|step| (step, &ENDS[2..]));
    for (at, verbs) in running.into_iter().chain(stopped) {
        for verb in verbs {
            let context = format!("{verb} at {at}");
            let (world, mut steps) = gated().await;
            let mut operation = None;
            let failed = build_while(&world, keeping(&world), &mut steps, async |step| {
                if step == at && operation.is_none() {
                    operation = Some(end(&world, verb));
                    // It is asked for now, and done where nobody holds the VM's task up.
                    tokio::task::yield_now().await;
                    if at == "take" {
                        finish(operation.take().unwrap()).await.unwrap();
                    }
                }
            });
            let (source, kept) = failure(error(failed.await));
            let text = "another request ended `build-dev`, in which it was built";
            assert_eq!(chain(&source), text, "{context}");
            assert_eq!((source.code(), kept), (ErrorCode::Interrupted, None), "{context}");
            if let Some(operation) = operation {
                drop(finish(operation).await);
            }
            assert_images(&world, &[], &context).await;
            assert_eq!(world.files("failed"), Vec::<String>::new(), "{context}: nobody asks why");
        }
    }
}

#[tokio::test]
async fn once_the_disk_is_taken_a_delete_of_the_vm_ends_nothing() {
    let (world, mut steps) = gated().await;
    let mut taken = false;
    let built = build_while(&world, request(&world, "dev"), &mut steps, async |step| {
        if taken && step == "digest" {
            world.delete("build-dev").await.unwrap();
        }
        taken |= step == "take";
    });
    let built = built.await.unwrap();
    let notes: Vec<_> = built.notes.iter().filter(|note| note.contains("is left")).collect();
    assert!(taken && notes.is_empty(), "{notes:?}");
    assert_images(&world, &["dev"], "deleted").await;
}

#[tokio::test]
async fn a_build_is_cancelled_until_its_disk_is_taken() {
    for (at, names) in [("check", &[][..]), ("copy", &[]), ("take", &["dev"])] {
        let (world, mut steps) = gated().await;
        let built = build_while(&world, keeping(&world), &mut steps, async |step| {
            if step == at {
                let op = world.engine.view("build-dev").unwrap().vm.changed_by.unwrap();
                world.engine.cancel(&op).unwrap();
            }
        });
        if let Err(failed) = built.await {
            let (source, kept) = failure(failed.error);
            assert_eq!((chain(&source).as_str(), kept), ("the build was cancelled", None), "{at}");
        }
        assert_images(&world, names, at).await;
    }
}

#[tokio::test]
async fn a_daemon_that_ends_ends_the_build_with_that_reason_and_nothing_is_kept() {
    for at in ["boot", "run apt-get", "shut down", "check", "copy"] {
        let (world, mut steps) = gated().await;
        let mut shutdown = None;
        let failed = build_while(&world, keeping(&world), &mut steps, async |step| {
            if step == at && shutdown.is_none() {
                let engine = world.engine.clone();
                shutdown = Some(tokio::spawn(async move { engine.shutdown().await }));
                tokio::task::yield_now().await;
            }
        });
        let (source, kept) = failure(error(failed.await));
        assert_eq!(chain(&source), "the daemon is shutting down", "{at}");
        assert_eq!(kept, None, "{at}");
        shutdown.unwrap().await.unwrap();
        assert_eq!(world.objects(), Vec::<String>::new(), "{at}");
        let world = world.restart().await;
        assert_images(&world, &[], at).await;
    }
}

#[tokio::test]
async fn a_guest_that_dies_during_the_work_is_not_said_to_have_died_in_its_boot() {
    let (world, mut steps) = gated().await;
    let failed = build_while(&world, keeping(&world), &mut steps, async |step| {
        if step == "run apt-get" {
            let socket = world.engine.view("build-dev").unwrap().paths.api_socket;
            let _there = world.host.crash_process(&socket, Exit::Code(1)).unwrap();
        }
    });
    let (source, kept) = failure(error(failed.await));
    let text =
        "`build-dev`, in which it was built, ended by itself: the VMM ended with exit code 1";
    assert_eq!((chain(&source).as_str(), source.code()), (text, ErrorCode::GuestFailed));
    assert_eq!(kept.unwrap().first, Some(Request::Start));
    assert_eq!(world.state("build-dev"), VmState::Stopped);
}

#[tokio::test]
async fn how_a_kept_vm_is_entered_is_told_by_how_it_is() {
    let delete = "`banger vm delete build-dev` removes it";
    let after = |verb| {
        format!("after `banger vm {verb} build-dev`, `banger vm ssh build-dev` enters the guest")
    };
    let now = "`banger vm ssh build-dev` enters the guest".to_owned();
    // What fails, and how the guest is entered after that. Its keys go with the cleaning.
    let all = [
        ("run depmod", now),
        ("run sync", after("restart")),
        ("check", after("start")),
        ("copy", after("start")),
        ("take", after("start")),
    ];
    for (at, enter) in all {
        let (world, mut steps) = gated().await;
        let failed = build_while(&world, keeping(&world), &mut steps, async |step| {
            world.faults(if step == at { "work:1" } else { "" });
        });
        let failed = error(failed.await);
        world.faults("");
        assert_eq!(failed.hints().last(), Some(&format!("{enter}; {delete}")), "{at}");
        assert_eq!(world.files(IMAGES), Vec::<String>::new(), "{at}");
        // No step waits any more.
        drop(steps);
        finish(world.engine.restart("build-dev", LONG, to_ssh()).unwrap()).await.unwrap();
        world.delete("build-dev").await.unwrap();
        assert_images(&world, &[], at).await;
    }
}

#[tokio::test]
async fn a_vm_without_its_disk_is_not_kept() {
    let (world, mut steps) = gated().await;
    let mut taken = false;
    let failed = build_while(&world, keeping(&world), &mut steps, async |step| {
        if taken && step == "digest" {
            world.faults("work:1");
        }
        taken |= step == "take";
    });
    let (source, kept) = failure(error(failed.await));
    assert!(chain(&source).starts_with("could not read `"), "{}", chain(&source));
    assert_eq!(kept, None);
    world.faults("");
    assert_images(&world, &[], "without").await;
}

#[tokio::test]
async fn a_vm_that_is_kept_is_as_any_other() {
    let world = World::new().await;
    world.faults("work:12");
    error(finish(world.engine.build_image(keeping(&world))).await);
    world.faults("");
    for verb in CHANGES {
        let done = finish(change(&world, verb)).await;
        done.unwrap_or_else(|error| panic!("{verb}: {error}"));
    }
    world.delete("build-dev").await.unwrap();
    assert_images(&world, &[], "deleted").await;
}
