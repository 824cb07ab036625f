//! A VM's name can be asked for while it runs, and at no other time.

use crate::world::{LONG, World, finish};
use banger_core::dns::{Answer, Apex, RecordKind, Scope};
use banger_core::spec::SpecChange;
use banger_core::state::VmState;
use banger_host::{Exit, Signal};
use std::time::Duration;
use tokio::time::timeout;

/// Within this time a VM that crashes loses its name.
const CRASH: Duration = Duration::from_secs(2);

/// Whether the name has the VM's address.
fn resolves(world: &World, name: &str) -> bool {
    let table = world.engine.names().borrow().clone();
    let ip = world.engine.view(name).map(|view| view.vm.identity.ip);
    match table.lookup([name.as_bytes(), b"vm"].into_iter(), RecordKind::A) {
        Answer::Address(found) => {
            assert_eq!(Ok(found), ip.map_err(|error| error.to_string()));
            true
        }
        Answer::NoName(Apex { labels: 1 }) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_is_there_after_a_start_and_gone_after_each_way_to_end() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    world.create("heron").await.unwrap();
    assert!(resolves(&world, "otter") && resolves(&world, "heron"));

    world.stop("otter").await.unwrap();
    assert!(!resolves(&world, "otter") && resolves(&world, "heron"));
    world.start("otter").await.unwrap();
    assert!(resolves(&world, "otter"));

    finish(world.engine.kill("otter", Signal::KILL).unwrap()).await.unwrap();
    assert!(!resolves(&world, "otter") && resolves(&world, "heron"));
    world.delete("heron").await.unwrap();
    assert!(!resolves(&world, "heron"));
    assert!(world.engine.names().borrow().is_empty());
}

#[tokio::test]
async fn a_start_that_fails_gives_no_name() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    assert!(resolves(&world, "otter"));
    world.stop("otter").await.unwrap();
    world.faults("ensure:vmm");
    world.start("otter").await.unwrap_err();
    assert!(!resolves(&world, "otter"));
}

#[tokio::test]
async fn a_vm_that_crashes_loses_its_name() {
    let world = World::new().await;
    let view = world.create("otter").await.unwrap().vm.unwrap();
    let mut names = world.engine.names();
    assert!(resolves(&world, "otter"));
    let _change = world.host.crash_process(&view.paths.api_socket, Exit::Signal(9)).unwrap();
    let gone = names.wait_for(|table| table.is_empty());
    timeout(CRASH, gone).await.expect("the name is gone in time").unwrap();
    assert!(!resolves(&world, "otter"));
}

#[tokio::test]
async fn a_new_daemon_has_the_names_of_the_vms_that_are_alive() {
    let world = World::new().await;
    let dies = world.create("otter").await.unwrap().vm.unwrap();
    world.create("heron").await.unwrap();
    world.create("lynx").await.unwrap();
    world.stop("lynx").await.unwrap();
    let serial = world.engine.names().borrow().serial();

    world.engine.shutdown().await;
    let _change = world.host.crash_process(&dies.paths.api_socket, Exit::Signal(9)).unwrap();
    let world = world.restart().await;
    assert_eq!(world.state("otter"), VmState::Stopped);
    assert!(resolves(&world, "heron") && !resolves(&world, "otter") && !resolves(&world, "lynx"));
    assert!(serial > 1 && world.engine.names().borrow().len() == 1);
    timeout(LONG, world.start("otter")).await.unwrap().unwrap();
    assert!(resolves(&world, "otter"));
}

#[tokio::test]
async fn others_names_are_for_guests_with_nat_and_a_switch_is_followed() {
    let world = World::new().await;
    let ip = world.create("otter").await.unwrap().vm.unwrap().vm.identity.ip;
    let scope = || world.engine.names().borrow().scope(ip);
    for (nat, expected) in [(false, Scope::Ours), (true, Scope::All), (false, Scope::Ours)] {
        let change = SpecChange { nat: Some(nat), ..SpecChange::default() };
        finish(world.engine.set("otter", change).unwrap()).await.unwrap();
        assert_eq!(scope(), expected, "nat = {nat}");
    }
}
