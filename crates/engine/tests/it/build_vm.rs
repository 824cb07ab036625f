//! The VM of a build, as others see it while the build goes on and when it is over.

use crate::build::{assert_images, request};
use crate::gate::{Gate, Step};
use crate::world::{LONG, World, error, finish, to_ssh};
use banger_core::error::{ErrorCode, Explain};
use banger_core::forward::{Forward, ForwardChange};
use banger_core::spec::SpecChange;
use banger_core::unit::MiB;
use banger_engine::{BuildImage, Operation, OperationError, Outcome};
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

#[tokio::test]
async fn a_vm_that_is_kept_is_as_any_other() {
    let world = World::new().await;
    world.faults("work:12");
    let keeping = BuildImage { keep_on_failure: true, ..request(&world, "dev") };
    error(finish(world.engine.build_image(keeping)).await);
    world.faults("");
    for verb in CHANGES {
        let done = finish(change(&world, verb)).await;
        done.unwrap_or_else(|error| panic!("{verb}: {error}"));
    }
    world.delete("build-dev").await.unwrap();
    assert_images(&world, &[], "deleted").await;
}
