//! The daemon is killed before and after each change of the host; the next one ends clean.

use crate::world::{World, finish};
use banger_core::spec::{SpecChange, VmSpec};
use banger_core::state::VmState;
use banger_core::vm::OverlayMethod;

/// More calls than any operation makes on one VM.
const MOST: usize = 60;
const METHODS: [OverlayMethod; 2] = [OverlayMethod::Copy, OverlayMethod::DmSnapshot];
const EFFECTS: [&str; 2] = ["crash-before", "crash-after"];

async fn world(overlay: OverlayMethod) -> World {
    World::with(overlay, "172.16.0.1/24").await
}

/// Whatever state the VM is in after a crash, it holds, the host agrees with the ledger, and the
/// VM can be deleted without a trace.
async fn assert_recovers(world: World, context: &str) {
    let world = world.restart().await;
    world.assert_agree(context).await;
    for view in world.engine.list() {
        let settled = !matches!(view.vm.state, VmState::Starting | VmState::Stopping);
        assert!(settled, "{context}: {}", view.vm.state);
        let name = view.vm.name.as_str();
        if matches!(view.vm.state, VmState::Stopped | VmState::Created) {
            world.start(name).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        world.delete(name).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    world.assert_empty(context).await;
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_create_leaves_no_leak() {
    for overlay in METHODS {
        for effect in EFFECTS {
            let mut crashes = 0;
            for n in 1..MOST {
                let world = world(overlay).await;
                world.faults(&format!("{effect}:ensure:{n}"));
                if world.create("otter").await.is_ok() {
                    break;
                }
                crashes += 1;
                assert_recovers(world, &format!("{overlay:?} {effect}:ensure:{n}")).await;
            }
            assert!(crashes >= 9, "{overlay:?} {effect}: only {crashes} steps were reached");
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_start_that_adds_a_disk_leaves_no_leak_and_loses_none() {
    for effect in EFFECTS {
        let mut crashes = 0;
        for n in 1..MOST {
            let world = world(OverlayMethod::DmSnapshot).await;
            world.create_without_tail("otter").await;
            let overlay = Some(VmSpec::builtin_defaults().overlay);
            let larger = SpecChange { overlay, ..SpecChange::default() };
            finish(world.engine.set("otter", larger).unwrap()).await.unwrap();
            world.faults(&format!("{effect}:ensure:{n}"));
            if world.start("otter").await.is_ok() {
                break;
            }
            crashes += 1;
            assert_recovers(world, &format!("{effect}:ensure:{n}")).await;
        }
        assert!(crashes >= 9, "{effect}: only {crashes} steps were reached");
    }
}

#[tokio::test]
async fn a_crash_around_the_order_to_boot_leaves_no_leak() {
    for effect in EFFECTS {
        let world = World::new().await;
        world.faults(&format!("{effect}:boot:1"));
        assert!(world.create("otter").await.is_err());
        assert_recovers(world, effect).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_stop_or_a_delete_leaves_no_leak() {
    for overlay in METHODS {
        for effect in EFFECTS {
            for n in 1..MOST {
                let world = world(overlay).await;
                world.create("otter").await.unwrap();
                world.faults(&format!("{effect}:remove:{n}"));
                if world.stop("otter").await.is_ok() {
                    break;
                }
                assert_recovers(world, &format!("{overlay:?} stop {effect}:{n}")).await;
            }
            for n in 1..MOST {
                let world = world(overlay).await;
                world.create("otter").await.unwrap();
                world.faults(&format!("{effect}:remove:{n}"));
                if world.delete("otter").await.is_ok() {
                    break;
                }
                // A delete that had begun is finished without being asked again.
                let world = world.restart().await;
                world.assert_empty(&format!("{overlay:?} delete {effect}:{n}")).await;
            }
        }
    }
}
