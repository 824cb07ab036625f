//! Each step of each operation fails in turn, and so does each step of its undo.
//!
//! The number of steps is not written down here: a fault's place moves on until an operation no
//! longer meets it.

use crate::world::{World, error};
use banger_core::error::Explain;
use banger_core::state::VmState;
use banger_core::vm::OverlayMethod;

/// More calls than any operation makes on one VM.
const MOST: usize = 60;
const METHODS: [OverlayMethod; 2] = [OverlayMethod::Copy, OverlayMethod::DmSnapshot];

async fn world(overlay: OverlayMethod) -> World {
    World::with(overlay, "172.16.0.1/24").await
}

#[tokio::test]
async fn a_create_that_fails_at_any_step_leaves_nothing() {
    for overlay in METHODS {
        for effect in ["", "fail-after:"] {
            let mut failures = 0;
            for n in 1..MOST {
                let world = world(overlay).await;
                world.faults(&format!("{effect}ensure:{n}"));
                if world.create("otter").await.is_ok() {
                    break;
                }
                failures += 1;
                world.assert_empty(&format!("{overlay:?} {effect}ensure:{n}")).await;
                world.create("otter").await.expect("the next create works");
            }
            // Table, bridge, directory, runtime directory, disks, initrd, TAP, VMM.
            assert!(failures >= 9, "{overlay:?}: only {failures} steps were reached");
        }
    }
}

#[tokio::test]
async fn a_create_whose_boot_order_is_refused_leaves_nothing() {
    let world = World::new().await;
    world.faults("boot:1");
    let failed = error(world.create("otter").await);
    assert_eq!(failed.to_string(), "the VMM of `otter` did not do as asked");
    world.assert_empty("boot refused").await;
}

#[tokio::test]
async fn a_start_that_fails_at_any_step_leaves_the_disks_and_the_state() {
    for overlay in METHODS {
        for n in 1..MOST {
            let world = world(overlay).await;
            world.create("otter").await.unwrap();
            world.stop("otter").await.unwrap();
            let before = world.objects();
            world.faults(&format!("ensure:{n}"));
            let context = format!("{overlay:?} ensure:{n}");
            if world.start("otter").await.is_ok() {
                assert!(n > 8, "{context}: the start has more steps");
                break;
            }
            assert_eq!(world.state("otter"), VmState::Stopped, "{context}");
            assert_eq!(world.objects(), before, "{context}");
            world.assert_agree(&context).await;
            world.faults("");
            world.start("otter").await.expect("the next start works");
        }
    }
}

#[tokio::test]
async fn an_undo_that_fails_says_what_is_left_and_the_next_daemon_start_removes_it() {
    for overlay in METHODS {
        let mut left_something = 0;
        // Each step of the set-up fails once, and of its undo the m-th step always does.
        for n in 1..MOST {
            let probe = world(overlay).await;
            probe.faults(&format!("ensure:{n}"));
            if probe.create("otter").await.is_ok() {
                break;
            }
            for m in 1..=n {
                let world = world(overlay).await;
                world.faults(&format!("ensure:{n},remove:{m}+"));
                let failed = error(world.create("otter").await);
                let context = format!("{overlay:?} ensure:{n} remove:{m}+: {failed}");
                world.assert_no_leak(&context).await;
                if !world.objects().is_empty() {
                    left_something += 1;
                    assert_eq!(world.state("otter"), VmState::Error, "{context}");
                    assert!(
                        world.engine.view("otter").unwrap().vm.last_error.is_some(),
                        "{context}"
                    );
                }
                world.faults("");
                let world = world.restart().await;
                world.assert_empty(&context).await;
            }
        }
        assert!(left_something > 0, "{overlay:?}: no undo was made to fail");
    }
}

#[tokio::test]
async fn a_stop_that_fails_at_any_step_names_it_and_is_repeated() {
    for overlay in METHODS {
        for n in 1..MOST {
            let world = world(overlay).await;
            world.create("otter").await.unwrap();
            world.faults(&format!("remove:{n}"));
            let context = format!("{overlay:?} remove:{n}");
            let result = world.stop("otter").await;
            if result.is_ok() {
                assert!(n > 4, "{context}: the stop has more steps");
                break;
            }
            let failed = error(result);
            assert!(failed.to_string().starts_with("could not remove everything of"), "{failed}");
            assert!(!failed.hints().is_empty(), "{context}");
            assert_eq!(world.state("otter"), VmState::Error, "{context}");
            world.assert_no_leak(&context).await;
            world.stop("otter").await.expect("the second stop works");
            assert_eq!(world.state("otter"), VmState::Stopped, "{context}");
            world.assert_agree(&context).await;
            world.start("otter").await.expect("and it starts again");
        }
    }
}

#[tokio::test]
async fn a_delete_that_fails_at_any_step_is_finished_by_a_second_one_or_the_next_daemon() {
    for overlay in METHODS {
        for n in 1..MOST {
            let world = world(overlay).await;
            world.create("otter").await.unwrap();
            world.faults(&format!("remove:{n}"));
            let context = format!("{overlay:?} remove:{n}");
            if world.delete("otter").await.is_ok() {
                assert!(n > 7, "{context}: the delete has more steps");
                break;
            }
            world.assert_no_leak(&context).await;
            if n % 2 == 0 {
                world.delete("otter").await.expect("the second delete works");
                world.assert_empty(&context).await;
            } else {
                world.restart().await.assert_empty(&context).await;
            }
        }
    }
}

#[tokio::test]
async fn a_vm_that_is_half_deleted_can_only_be_deleted() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    world.faults("remove:vm_dir:1");
    world.delete("otter").await.unwrap_err();
    let refused = error(world.start("otter").await);
    assert_eq!(refused.to_string(), "`otter` is half deleted: cannot start it");
    assert_eq!(refused.hints(), ["finish it with `banger vm delete otter`"]);
    world.delete("otter").await.unwrap();
    world.assert_empty("deleted").await;
}

#[tokio::test]
async fn a_network_that_cannot_be_changed_leaves_no_vm_between_states() {
    for verb in ["stop", "delete"] {
        let world = World::new().await;
        world.create("heron").await.unwrap();
        world.create("otter").await.unwrap();
        world.faults("ensure:firewall:1");
        let failed = match verb {
            "stop" => world.stop("otter").await,
            _ => world.delete("otter").await,
        };
        let failed = error(failed);
        assert!(failed.to_string().contains("banger_"), "{verb} names the table: {failed}");
        assert_eq!(world.state("otter"), VmState::Error, "{verb}");
        assert_eq!(world.state("heron"), VmState::Running, "{verb}");
        world.delete("otter").await.unwrap();
        assert_eq!(world.host.nat_guests().len(), 1, "{verb}");
        world.assert_agree(verb).await;
    }
}

#[tokio::test]
async fn what_an_undo_leaves_is_listed_with_its_reason() {
    let world = World::new().await;
    world.faults("boot:1,remove:tap:always");
    let failed = world.create("otter").await.unwrap_err();
    let listed: Vec<&str> = failed.left.iter().map(|left| left.key.role().as_str()).collect();
    assert!(listed.contains(&"tap"), "{listed:?}");
    assert_eq!(failed.to_string(), "the VMM of `otter` did not do as asked");
}

#[tokio::test]
async fn one_vms_failure_does_not_touch_another() {
    for n in 1..MOST {
        let world = World::new().await;
        world.create("heron").await.unwrap();
        let before = world.objects();
        world.faults(&format!("ensure:{n}"));
        if world.create("otter").await.is_ok() {
            break;
        }
        let context = format!("ensure:{n}");
        assert_eq!(world.objects(), before, "{context}");
        assert_eq!(world.state("heron"), VmState::Running, "{context}");
        assert_eq!(world.host.nat_guests().len(), 1, "{context}");
        world.assert_agree(&context).await;
    }
}
