//! A server on a free port of the loopback interface, with a table that the test changes.

use banger_core::dns::Table;
use banger_dns::{Authority, Lifetimes, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any answer takes; a test that meets it has found a hang.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A server that runs, and ends with its test.
pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Arc<Authority>,
    table: watch::Sender<Arc<Table>>,
    ending: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

/// The table of these VMs, each with the last byte of its address.
fn table(serial: u32, running: &[(&str, u8)]) -> Arc<Table> {
    let running = running
        .iter()
        .map(|(name, last)| (name.parse().unwrap(), Ipv4Addr::new(172, 16, 0, *last).into()));
    Arc::new(Table::new("172.16.0.1/24".parse().unwrap(), serial, running))
}

impl Scene {
    pub(crate) async fn start(running: &[(&str, u8)]) -> Self {
        let (sender, receiver) = watch::channel(table(1, running));
        let lifetimes = Lifetimes { positive: 5, negative: 0 };
        let authority = Arc::new(Authority::new(receiver, lifetimes));
        let server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let (address, ending) = (server.address().unwrap(), CancellationToken::new());
        let running = tokio::spawn(server.run(Arc::clone(&authority), ending.clone()));
        Self { address, authority, table: sender, ending, running }
    }

    /// Other VMs run from now on.
    pub(crate) fn swap(&self, running: &[(&str, u8)]) {
        let serial = self.authority.table().serial() + 1;
        self.table.send_replace(table(serial, running));
    }

    /// Ends the server in good order; its port is free then.
    pub(crate) async fn end(self) {
        self.ending.cancel();
        tokio::time::timeout(LONG, self.running).await.unwrap().unwrap().unwrap();
        Server::bind(self.address).await.unwrap();
    }
}
