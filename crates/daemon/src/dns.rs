//! The DNS listener: taking its address, saying who else holds it, and trying again.
//!
//! VMs do not depend on it: where it cannot listen, the daemon serves all the same and says so in
//! its log and its status.

use crate::config::DnsListen;
use banger_api::{DnsState, DnsStatus};
use banger_dns::{Audience, Authority, Server};
use banger_host::port_holder;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long after a failure the address is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Where the listener stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listening {
    /// It is not wanted.
    Off,
    /// Queries are answered.
    Serving(SocketAddr),
    /// The address is not to be had.
    Failed {
        address: SocketAddr,
        /// Why, in one sentence.
        problem: String,
    },
}

/// The DNS listener as the rest of the daemon sees it; clones are the same one.
#[derive(Debug, Clone)]
pub struct Dns {
    authority: Arc<Authority>,
    listening: watch::Receiver<Listening>,
}

impl Dns {
    /// Takes the address and answers queries until `ending` is cancelled. The task ends with that.
    pub async fn start(
        listen: DnsListen,
        authority: Authority,
        ending: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let authority = Arc::new(authority);
        let (sender, listening) = watch::channel(Listening::Off);
        let dns = Self { authority: Arc::clone(&authority), listening };
        let DnsListen::At(address) = listen else { return (dns, tokio::spawn(async {})) };
        let keeper = Keeper { address, authority, listening: sender, ending };
        // Before the daemon is ready, so that a name can be asked for as soon as it is.
        let first = keeper.bind().await;
        (dns, tokio::spawn(keeper.keep(first)))
    }

    /// What the daemon's status says of it.
    pub fn status(&self) -> DnsStatus {
        let (state, address, problem) = match self.listening.borrow().clone() {
            Listening::Off => (DnsState::Off, None, None),
            Listening::Serving(address) => (DnsState::Serving, Some(address), None),
            Listening::Failed { address, problem } => {
                (DnsState::Failed, Some(address), Some(problem))
            }
        };
        DnsStatus {
            state,
            address,
            problem,
            records: u32::try_from(self.authority.table().len()).unwrap_or(u32::MAX),
            queries: self.authority.answered(),
        }
    }
}

/// The task that keeps the listener up.
#[derive(Debug)]
struct Keeper {
    address: SocketAddr,
    authority: Arc<Authority>,
    listening: watch::Sender<Listening>,
    ending: CancellationToken,
}

impl Keeper {
    /// Takes the address, and shows what came of it.
    async fn bind(&self) -> Option<Server> {
        match bind(self.address).await {
            Ok((server, address)) => {
                tracing::info!(%address, "answering DNS queries");
                self.listening.send_replace(Listening::Serving(address));
                Some(server)
            }
            Err(error) => {
                self.fail(&error).await;
                None
            }
        }
    }

    async fn keep(self, first: Option<Server>) {
        let mut bound = first;
        loop {
            if let Some(server) = bound {
                let authority = Arc::clone(&self.authority);
                match server.run(authority, Audience::Host, self.ending.clone()).await {
                    Ok(()) => return,
                    Err(error) => self.fail(&error).await,
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
            bound = self.bind().await;
        }
    }

    /// Shows a failure; it is logged once, however often it comes again.
    async fn fail(&self, error: &io::Error) {
        let address = self.address;
        let problem = explain(address, error).await;
        let failed = Listening::Failed { address, problem: problem.clone() };
        if self.listening.send_replace(failed.clone()) != failed {
            tracing::warn!(%address, problem, "no DNS queries are answered; trying again");
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<(Server, SocketAddr)> {
    let server = Server::bind(address).await?;
    let address = server.address()?;
    Ok((server, address))
}

/// Why an address is not to be had, with who holds it.
async fn explain(address: SocketAddr, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::AddrInUse {
        return format!("{address} cannot be listened on: {error}");
    }
    match tokio::task::spawn_blocking(move || port_holder(address)).await {
        Ok(Some(holder)) => format!("{address} is held by {holder}"),
        Ok(None) | Err(_) => format!("{address} is held by a process that cannot be seen"),
    }
}
