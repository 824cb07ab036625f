//! A port of the host leads into a VM while it runs, and is the VM's at all times.

use crate::world::{LONG, World, error, finish};
use banger_core::error::{ErrorCode, Explain};
use banger_core::forward::{Forward, ForwardChange};
use banger_core::state::VmState;
use banger_engine::{EngineError, ForwardState, OperationError, Outcome};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

/// A port that nobody has right now, leading to port 80.
fn free() -> Forward {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("{port}:80").parse().unwrap()
}

fn address(forward: Forward) -> (Ipv4Addr, u16) {
    (Ipv4Addr::LOCALHOST, forward.from.host_port.get())
}

impl World {
    async fn forward(
        &self,
        name: &str,
        change: ForwardChange,
    ) -> Result<Outcome, Box<OperationError>> {
        finish(self.engine.forward(name, change).unwrap()).await
    }

    /// How the VM's only forward stands.
    fn stands(&self, name: &str) -> ForwardState {
        let [view] = &self.engine.view(name).unwrap().forwards[..] else { panic!("not one") };
        view.state.clone()
    }
}

#[tokio::test]
async fn a_port_is_open_while_its_vm_runs_and_again_with_each_start_and_daemon() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let forward = free();
    let added = world.forward("otter", ForwardChange::Add(forward)).await.unwrap();
    assert!(added.changed && added.notes.is_empty(), "{added:?}");
    assert!(!world.forward("otter", ForwardChange::Add(forward)).await.unwrap().changed);
    assert_eq!(world.stands("otter"), ForwardState::Open);
    drop(TcpStream::connect(address(forward)).unwrap());

    world.stop("otter").await.unwrap();
    assert_eq!(world.stands("otter"), ForwardState::Closed);
    drop(TcpListener::bind(address(forward)).expect("it is closed when the stop is done"));
    let started = world.start("otter").await.unwrap();
    assert_eq!((world.stands("otter"), started.notes.len()), (ForwardState::Open, 0));

    world.engine.shutdown().await;
    drop(TcpListener::bind(address(forward)).expect("it is closed when the daemon has ended"));
    let world = world.restart().await;
    assert_eq!(world.state("otter"), VmState::Running);
    assert_eq!(world.stands("otter"), ForwardState::Open);
    drop(TcpStream::connect(address(forward)).unwrap());
}

#[tokio::test]
async fn a_port_is_free_after_its_removal_and_after_its_vms() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let udp: Forward = format!("{}/udp", free().from.host_port).parse().unwrap();
    let remove = ForwardChange::Remove(udp.from);
    world.forward("otter", ForwardChange::Add(udp)).await.unwrap();
    UdpSocket::bind(address(udp)).expect_err("it is taken");
    assert!(world.forward("otter", remove).await.unwrap().changed);
    drop(UdpSocket::bind(address(udp)).expect("it is closed when the removal is done"));
    assert!(!world.forward("otter", remove).await.unwrap().changed);
    assert!(world.engine.view("otter").unwrap().forwards.is_empty());

    world.forward("otter", ForwardChange::Add(udp)).await.unwrap();
    world.delete("otter").await.unwrap();
    world.create("heron").await.unwrap();
    world.forward("heron", ForwardChange::Add(udp)).await.unwrap();
    assert_eq!(world.stands("heron"), ForwardState::Open);
}

#[tokio::test]
async fn a_port_that_somebody_has_is_refused_and_not_recorded() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    world.create("heron").await.unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let forward: Forward = port.to_string().parse().unwrap();
    let refused = error(world.forward("otter", ForwardChange::Add(forward)).await);
    assert_eq!(refused.code(), ErrorCode::NetworkConflict);
    let EngineError::Forward(cause) = refused else { panic!("{refused}") };
    let by = format!("(pid {})", std::process::id());
    let text = cause.to_string();
    assert!(text.starts_with(&format!("127.0.0.1:{port}/tcp is held by `")), "{text}");
    assert!(text.ends_with(&by), "{text}");
    assert!(world.engine.view("otter").unwrap().forwards.is_empty());
    drop(holder);

    // What was refused to one holds up no other; what another has is refused, running or not.
    world.forward("heron", ForwardChange::Add(forward)).await.unwrap();
    world.stop("heron").await.unwrap();
    let refused = error(world.forward("otter", ForwardChange::Add(forward)).await);
    assert_eq!(
        refused.to_string(),
        format!("127.0.0.1:{port}/tcp leads to port {port} of `heron` already")
    );
}

#[tokio::test]
async fn a_vm_starts_without_a_port_that_is_taken_and_has_it_when_it_is_free() {
    let world = World::new().await;
    world.create("otter").await.unwrap();
    let forward = free();
    world.forward("otter", ForwardChange::Add(forward)).await.unwrap();
    world.stop("otter").await.unwrap();
    let holder = TcpListener::bind(address(forward)).unwrap();
    let started = world.start("otter").await.unwrap();
    let ForwardState::Failed { problem } = world.stands("otter") else { panic!("it is taken") };
    assert_eq!(
        started.notes,
        [format!("{problem}; it leads to `otter` as soon as it can be taken")]
    );
    drop(holder);
    world.until("otter", |view| view.forwards[0].state == ForwardState::Open).await;
    drop(TcpStream::connect_timeout(&address(forward).into(), LONG).unwrap());
}
