//! The DNS listeners, one for the host and one for guests: taking the address, saying who else
//! holds it, and trying again.
//!
//! VMs do not depend on them: where one cannot listen, the daemon serves all the same and says so
//! in its log and its status.

use crate::config::DnsListen;
use banger_api::{DnsState, DnsStatus, GuestDnsStatus};
use banger_core::net::Subnet;
use banger_dns::{Audience, Authority, Forwarder, Server};
use banger_host::{holder_in_words, port_holder};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long after a failure the address is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// The port of the bridge's address that guests' queries are turned to. It is always the same where
/// it can be, so that a rule of the host's own firewall can name it.
const GUEST_PORT: u16 = 42_069;

/// The listener for guests, which has its address before the firewall is told of it.
#[derive(Debug)]
pub struct GuestListener {
    address: SocketAddrV4,
    first: io::Result<Server>,
    subnet: Subnet,
    forwarder: Forwarder,
}

impl GuestListener {
    /// Takes the bridge's address, which may not be there yet. Needs a Tokio runtime.
    pub fn bind(subnet: Subnet, forwarder: Forwarder) -> Self {
        let wanted = SocketAddrV4::new(subnet.gateway(), GUEST_PORT);
        let first = match Server::bind_ahead(wanted) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Server::bind_ahead(SocketAddrV4::new(subnet.gateway(), 0))
            }
            bound => bound,
        };
        let address = match first.as_ref().map(Server::address) {
            Ok(Ok(SocketAddr::V4(address))) => address,
            _ => wanted,
        };
        Self { address, first, subnet, forwarder }
    }

    /// The port; it stays, whether or not it could be taken at once.
    pub fn port(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.address.port())
    }
}

/// Where a listener stands.
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

/// The DNS listeners as the rest of the daemon sees them; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Dns {
    authority: Arc<Authority>,
    listening: watch::Receiver<Listening>,
    guests: Option<(watch::Receiver<Listening>, Forwarder)>,
}

impl Dns {
    /// Takes the addresses and answers queries until `ending` is cancelled. The task ends with that.
    pub async fn start(
        listen: DnsListen,
        guests: Option<GuestListener>,
        authority: Authority,
        ending: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let authority = Arc::new(authority);
        let (sender, listening) = watch::channel(Listening::Off);
        let mut dns = Self { authority: Arc::clone(&authority), listening, guests: None };
        let mut keepers = Vec::new();
        if let DnsListen::At(address) = listen {
            let (authority, ending) = (Arc::clone(&authority), ending.clone());
            let audience = Audience::Host;
            let keeper = Keeper { address, audience, authority, listening: sender, ending };
            // Before the daemon is ready, so that a name can be asked for as soon as it is.
            let first = keeper.show(keeper.bind().await).await;
            keepers.push((keeper, first));
        }
        if let Some(GuestListener { address, first, subnet, forwarder }) = guests {
            let (sender, listening) = watch::channel(Listening::Off);
            dns.guests = Some((listening, forwarder.clone()));
            let audience = Audience::guests(subnet, forwarder);
            let address = address.into();
            let keeper = Keeper { address, audience, authority, listening: sender, ending };
            let first = keeper.show(first).await;
            keepers.push((keeper, first));
        }
        let keeping = keepers.into_iter().map(|(keeper, first)| keeper.keep(first));
        let all = futures_util::future::join_all(keeping);
        (dns, tokio::spawn(async { drop(all.await) }))
    }

    /// What the daemon's status says of them.
    pub fn status(&self) -> DnsStatus {
        let (state, address, problem) = self.listening.borrow().describe();
        DnsStatus {
            state,
            address,
            problem,
            records: u32::try_from(self.authority.table().len()).unwrap_or(u32::MAX),
            queries: self.authority.answered(),
            guests: self.guests.as_ref().map(guest_status).unwrap_or_default(),
        }
    }
}

fn guest_status(
    (listening, forwarder): &(watch::Receiver<Listening>, Forwarder),
) -> GuestDnsStatus {
    let (state, address, problem) = listening.borrow().describe();
    GuestDnsStatus { state, address, problem, upstreams: forwarder.servers() }
}

impl Listening {
    /// As the API has it: the state, the address, and what is amiss.
    fn describe(&self) -> (DnsState, Option<SocketAddr>, Option<String>) {
        match self.clone() {
            Self::Off => (DnsState::Off, None, None),
            Self::Serving(address) => (DnsState::Serving, Some(address), None),
            Self::Failed { address, problem } => (DnsState::Failed, Some(address), Some(problem)),
        }
    }
}

/// The task that keeps a listener up.
#[derive(Debug)]
struct Keeper {
    address: SocketAddr,
    audience: Audience,
    authority: Arc<Authority>,
    listening: watch::Sender<Listening>,
    ending: CancellationToken,
}

impl Keeper {
    async fn bind(&self) -> io::Result<Server> {
        match (&self.audience, self.address) {
            (Audience::Guests { .. }, SocketAddr::V4(address)) => Server::bind_ahead(address),
            (_, address) => Server::bind(address).await,
        }
    }

    /// Shows what came of an attempt.
    async fn show(&self, bound: io::Result<Server>) -> Option<Server> {
        let located = bound.and_then(|server| Ok((server.address()?, server)));
        match located {
            Ok((address, server)) => {
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
                let (authority, audience) = (Arc::clone(&self.authority), self.audience.clone());
                match server.run(authority, audience, self.ending.clone()).await {
                    Ok(()) => return,
                    Err(error) => self.fail(&error).await,
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
            bound = self.show(self.bind().await).await;
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

/// Why an address is not to be had, with who holds it.
async fn explain(address: SocketAddr, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::AddrInUse {
        return format!("{address} cannot be listened on: {error}");
    }
    let looked = tokio::task::spawn_blocking(move || port_holder(address)).await;
    format!("{address} is held by {}", holder_in_words(looked.ok().flatten()))
}
