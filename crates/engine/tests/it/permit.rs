//! What has other firewalls let guests through: each step fails or is the last before a crash, and
//! whoever takes it away meanwhile.

use crate::world::World;
use banger_core::error::Explain;
use banger_core::resource::{DnsGate, Gatekeeper, Resource};
use banger_engine::Permission;
use banger_host::Host;

const BOTH: [Permission; 2] = [
    Permission { gatekeeper: Gatekeeper::IptablesNft, dns: DnsGate::Closed },
    Permission { gatekeeper: Gatekeeper::Firewalld, dns: DnsGate::Open },
];
/// Their keys, in order.
const KEYS: [&str; 2] = ["instance/permit_nft", "instance/permit_firewalld"];

/// What was granted on a host without VMs.
async fn granted() -> (World, Vec<Resource>) {
    let world = World::new().await;
    let permits = world.engine.permit(&BOTH).await.unwrap();
    (world, permits)
}

/// Fails unless both are there and go without a trace.
async fn assert_whole(world: &World, context: &str) {
    assert_eq!(world.objects(), KEYS, "{context}");
    world.assert_agree(context).await;
    world.engine.withdraw().await.unwrap_or_else(|error| panic!("{context}: {error}"));
    world.assert_empty(context).await;
}

#[tokio::test]
async fn a_permit_outlives_vms_and_daemon_until_it_is_withdrawn() {
    let (world, permits) = granted().await;
    world.create("otter").await.unwrap();
    world.delete("otter").await.unwrap();
    assert_eq!(world.engine.permit(&BOTH).await.unwrap(), permits, "the same once more");
    let world = world.restart().await;
    assert_whole(&world, "granted").await;
    assert_eq!(world.engine.withdraw().await.unwrap(), [], "there is nothing left to undo");
    world.restart().await.assert_empty("withdrawn").await;
}

#[tokio::test]
async fn a_permit_that_fails_leaves_nothing_of_itself() {
    for effect in ["", "fail-after:"] {
        for n in 1..=BOTH.len() {
            let world = World::new().await;
            let context = format!("{effect}ensure:{n}");
            world.faults(&context);
            let failed = world.engine.permit(&BOTH).await.unwrap_err();
            let program = BOTH[n - 1].gatekeeper.program();
            assert_eq!(
                failed.to_string(),
                format!("could not have `{program}` let VMs' packets through")
            );
            assert_eq!(world.objects(), KEYS[..n - 1], "{context}");
            world.assert_agree(&context).await;
            world.engine.permit(&BOTH).await.unwrap();
            assert_whole(&world, &context).await;
        }
    }
}

#[tokio::test]
async fn a_permit_whose_undo_fails_too_is_still_known_and_withdrawn() {
    let world = World::new().await;
    world.faults("fail-after:ensure:1,remove:1");
    world.engine.permit(&BOTH).await.unwrap_err();
    assert_eq!(world.objects(), KEYS[..1]);
    world.assert_agree("left behind").await;
    world.engine.withdraw().await.unwrap();
    world.assert_empty("withdrawn").await;
}

#[tokio::test]
async fn a_withdrawal_that_fails_says_what_is_left_and_is_repeated() {
    for n in 1..=BOTH.len() {
        let (world, _) = granted().await;
        let context = format!("remove:{n}");
        world.faults(&context);
        let failed = world.engine.withdraw().await.unwrap_err();
        assert!(failed.to_string().ends_with(" is left"), "{context}: {failed}");
        assert!(!failed.code().to_string().is_empty());
        assert_eq!(world.objects().len(), 1, "{context}");
        world.assert_agree(&context).await;
        assert_eq!(world.engine.withdraw().await.unwrap().len(), 1, "{context}");
        world.assert_empty(&context).await;
    }
}

#[tokio::test]
async fn a_crash_around_a_permit_leaves_it_whole_or_not_at_all() {
    for effect in ["crash-before", "crash-after"] {
        for n in 1..=BOTH.len() {
            let world = World::new().await;
            let context = format!("{effect}:ensure:{n}");
            world.faults(&context);
            world.engine.permit(&BOTH).await.unwrap_err();
            // Its row was there before: the next daemon puts it in place.
            let world = world.restart().await;
            assert_eq!(world.objects(), KEYS[..n], "{context}");
            world.assert_agree(&context).await;
            world.engine.permit(&BOTH).await.unwrap();
            assert_whole(&world, &context).await;
        }
    }
}

#[tokio::test]
async fn a_crash_around_a_withdrawal_leaves_what_can_be_withdrawn_again() {
    for effect in ["crash-before", "crash-after"] {
        for n in 1..=BOTH.len() {
            let (world, _) = granted().await;
            let context = format!("{effect}:remove:{n}");
            world.faults(&context);
            world.engine.withdraw().await.unwrap_err();
            // Rows are struck last, so all come back.
            let world = world.restart().await;
            assert_eq!(world.objects(), KEYS, "{context}");
            world.assert_agree(&context).await;
            world.engine.withdraw().await.unwrap();
            world.assert_empty(&context).await;
        }
    }
}

#[tokio::test]
async fn what_somebody_takes_away_comes_back_with_the_next_start_of_a_vm_or_the_daemon() {
    let (world, permits) = granted().await;
    let forget = |world: &World| {
        for permit in &permits {
            let _gone = world.host.remove(permit).unwrap();
        }
        assert!(world.objects().iter().all(|key| !key.contains("permit")));
    };
    forget(&world);
    let world = world.restart().await;
    assert_eq!(world.objects(), KEYS, "the daemon");
    forget(&world);
    world.create("otter").await.unwrap();
    assert!(KEYS.iter().all(|key| world.objects().contains(&(*key).to_owned())), "a VM");
    world.delete("otter").await.unwrap();
    forget(&world);
    assert_eq!(world.engine.withdraw().await.unwrap(), permits);
    world.assert_empty("withdrawn").await;
}

#[tokio::test]
async fn one_that_cannot_be_put_back_keeps_no_vm_from_starting() {
    let (world, permits) = granted().await;
    let _gone = world.host.remove(&permits[0]).unwrap();
    world.faults("ensure:permit_nft:always");
    world.create("otter").await.unwrap();
    world.delete("otter").await.unwrap();
    world.faults("");
    world.create("otter").await.unwrap();
    world.delete("otter").await.unwrap();
    assert_whole(&world, "put back").await;
}

#[tokio::test]
async fn one_that_no_record_knows_goes_at_the_next_start_of_the_daemon() {
    let (world, permits) = granted().await;
    world.engine.withdraw().await.unwrap();
    for permit in &permits {
        let _put = world.host.ensure(permit).unwrap();
    }
    world.restart().await.assert_empty("leaked").await;
}
