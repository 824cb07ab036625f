//! The host's resolver, against a systemd-resolved and a bus that the test plays.

use crate::fake_resolved::{Bus, Link, OURS};
use crate::program::reach;
use banger_api::{HostDnsState, HostDnsStatus};
use banger_core::dns::{Entry, Scope, Table};
use banger_core::net::Subnet;
use banger_daemon::resolved::{HostDns, HostDnsError, Wanted, Wish};
use banger_host::resolved::link_number;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, several periods of the keeper among it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A bus, a daemon's integration over it, and the link that stands for the bridge: `lo` is always
/// there.
struct Scene {
    bus: Bus,
    dir: TempDir,
    subnet: Subnet,
    names: watch::Sender<Arc<Table>>,
    server: Arc<Mutex<Option<SocketAddr>>>,
}

struct Running {
    dns: HostDns,
    task: JoinHandle<()>,
    ending: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        let subnet: Subnet = "172.16.0.1/24".parse().unwrap();
        let server = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 42_069));
        Self {
            bus: Bus::new(),
            dir: tempfile::tempdir().unwrap(),
            subnet,
            names: watch::Sender::new(Arc::new(Table::new(subnet, 1, []))),
            server: Arc::new(Mutex::new(Some(server))),
        }
    }

    fn opt_out(&self) -> PathBuf {
        self.dir.path().join("off")
    }

    fn start(&self) -> Running {
        let (bus, server) = (self.bus.clone(), Arc::clone(&self.server));
        let wish = Wish {
            bridge: "lo".to_owned().try_into().unwrap(),
            subnet: self.subnet,
            names: self.names.subscribe(),
            server: Box::new(move || *server.lock().unwrap()),
            opt_out: self.opt_out(),
            connect: Box::new(move || {
                let bus = bus.clone();
                Box::pin(async move { bus.connect().await })
            }),
        };
        let ending = CancellationToken::new();
        let (dns, task) = HostDns::start(wish, ending.clone());
        Running { dns, task, ending }
    }

    /// These VMs run from now on.
    fn run(&self, names: &[&str]) {
        let running = names.iter().zip(2..).map(|(name, last)| Entry {
            name: name.parse().unwrap(),
            ip: Ipv4Addr::new(172, 16, 0, last).into(),
            scope: Scope::All,
        });
        let serial = self.names.borrow().serial() + 1;
        self.names.send_replace(Arc::new(Table::new(self.subnet, serial, running)));
    }

    fn link(&self) -> Link {
        self.bus.link(link_number("lo").unwrap())
    }
}

impl Running {
    async fn end(self) {
        self.ending.cancel();
        timeout(PATIENCE, self.task).await.expect("it ends").unwrap();
    }
}

/// Waits until it stands so.
async fn until(running: &Running, state: HostDnsState) -> HostDnsStatus {
    reach(&format!("{state:?}"), async || {
        let status = running.dns.status().await;
        (status.state == state).then_some(status)
    })
    .await
}

#[tokio::test]
async fn resolved_is_told_with_the_first_vm_and_no_longer_with_the_last() {
    let scene = Scene::new();
    let daemon = scene.start();
    until(&daemon, HostDnsState::Waiting).await;
    assert_eq!(scene.link(), Link::default());
    scene.run(&["otter"]);
    let status = until(&daemon, HostDnsState::Configured).await;
    assert_eq!((status.link.as_deref(), status.problem), (Some("lo"), None));
    assert_eq!(scene.link(), Link::told());
    // The server is the last thing that is said.
    assert_eq!(scene.bus.calls().last().map(String::as_str), Some("SetLinkDNSEx"));

    let before = scene.bus.calls().len();
    scene.run(&["otter", "heron"]);
    scene.run(&["otter"]);
    daemon.dns.switch(Wanted::Yes).await.unwrap();
    assert_eq!(scene.bus.calls().len(), before, "what is right is not said again");
    scene.run(&[]);
    until(&daemon, HostDnsState::Waiting).await;
    assert_eq!(scene.link(), Link::default());
    daemon.end().await;
}

#[tokio::test]
async fn a_resolved_that_starts_anew_is_told_again() {
    let scene = Scene::new();
    scene.bus.end_resolved().await;
    scene.run(&["otter"]);
    let daemon = scene.start();
    let status = until(&daemon, HostDnsState::Absent).await;
    assert_eq!(status.problem.as_deref(), Some("systemd-resolved does not run"));
    assert!(status.recipe.is_some());
    scene.bus.start_resolved().await;
    until(&daemon, HostDnsState::Configured).await;
    assert_eq!(scene.link(), Link::told());

    scene.bus.end_resolved().await;
    until(&daemon, HostDnsState::Absent).await;
    scene.bus.start_resolved().await;
    until(&daemon, HostDnsState::Configured).await;
    assert_eq!(scene.link(), Link::told());
    daemon.end().await;
    assert_eq!(scene.link(), Link::default(), "at its end it takes back what it has said");
}

#[tokio::test]
async fn who_else_changes_the_link_is_overruled() {
    let scene = Scene::new();
    scene.run(&["otter"]);
    let daemon = scene.start();
    until(&daemon, HostDnsState::Configured).await;
    let others = Link { domains: vec![("lan".to_owned(), false)], ..Link::default() };
    for change in [Link::default(), others] {
        scene.bus.set_link(link_number("lo").unwrap(), change);
        let told = async || (scene.link() == Link::told()).then_some(());
        reach("what it should be", told).await;
    }
    daemon.end().await;
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_not_asked() {
    let scene = Scene::new();
    scene.run(&["otter"]);
    let daemon = scene.start();
    until(&daemon, HostDnsState::Configured).await;
    let address = scene.server.lock().unwrap().take();
    let status = until(&daemon, HostDnsState::Waiting).await;
    assert_eq!(status.problem.as_deref(), Some("the daemon does not answer queries"));
    assert_eq!(scene.link(), Link::default());
    *scene.server.lock().unwrap() = address;
    until(&daemon, HostDnsState::Configured).await;
    daemon.end().await;
}

#[tokio::test]
async fn a_resolved_of_another_network_is_left_alone() {
    let scene = Scene::new();
    scene.bus.move_resolved_elsewhere();
    scene.run(&["otter"]);
    let daemon = scene.start();
    let status = until(&daemon, HostDnsState::Absent).await;
    let problem = "the systemd-resolved on the bus serves another network";
    assert_eq!(status.problem.as_deref(), Some(problem));
    daemon.end().await;
    assert_eq!(scene.bus.calls(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_is_told_and_tried_again() {
    let scene = Scene::new();
    scene.bus.refuse(OURS);
    scene.run(&["otter"]);
    let daemon = scene.start();
    let status = until(&daemon, HostDnsState::Failed).await;
    let problem = status.problem.unwrap();
    assert!(problem.contains("`SetLinkDNSEx`") && problem.contains("not today"), "{problem}");
    scene.bus.refuse("nothing");
    until(&daemon, HostDnsState::Configured).await;
    daemon.end().await;
}

#[tokio::test]
async fn without_a_bus_it_says_so_and_finds_one_that_comes() {
    let scene = Scene::new();
    scene.bus.hide();
    scene.run(&["otter"]);
    let daemon = scene.start();
    let status = until(&daemon, HostDnsState::Absent).await;
    assert!(status.problem.unwrap().starts_with("the system's D-Bus cannot be reached: "));
    scene.bus.show();
    until(&daemon, HostDnsState::Configured).await;
    daemon.end().await;
}

#[tokio::test]
async fn what_the_user_says_holds_for_the_next_daemon_too() {
    let scene = Scene::new();
    scene.run(&["otter"]);
    let daemon = scene.start();
    until(&daemon, HostDnsState::Configured).await;
    let status = daemon.dns.switch(Wanted::No).await.unwrap();
    assert_eq!(status.state, HostDnsState::Off);
    assert_eq!(scene.link(), Link::default());
    daemon.end().await;

    let next = scene.start();
    until(&next, HostDnsState::Off).await;
    let status = next.dns.switch(Wanted::Yes).await.unwrap();
    assert_eq!((status.state, scene.link()), (HostDnsState::Configured, Link::told()));
    next.end().await;
}

#[tokio::test]
async fn a_daemon_that_has_no_say_in_it_refuses_with_the_reason() {
    let refused = HostDns::none("the host is simulated").switch(Wanted::Yes).await.unwrap_err();
    assert!(
        matches!(&refused, HostDnsError::NotHere { because } if because == "the host is simulated")
    );
}
