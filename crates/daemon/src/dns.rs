//! The DNS listeners, one for the host and one for guests.

use crate::config::Listen;
use crate::listening::{Keeper, Listening, Service};
use banger_api::{DnsStatus, GuestDnsStatus, HostDnsStatus};
use banger_core::net::{Protocol, Subnet};
use banger_dns::{Audience, Authority, Forwarder, Server, Verdict};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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
        listen: Listen,
        guests: Option<GuestListener>,
        authority: Authority,
        ending: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let authority = Arc::new(authority);
        let queries = |audience| Queries { authority: Arc::clone(&authority), audience };
        let host = Keeper::new(listen, queries(Audience::Host), ending.clone());
        let mut dns =
            Self { authority: Arc::clone(&authority), listening: host.watch(), guests: None };
        // Before the daemon is ready, so that a name can be asked for as soon as it is.
        let first = host.take().await;
        let mut keeping = vec![host.keep(first)];
        if let Some(GuestListener { address, first, subnet, forwarder }) = guests {
            let audience = Audience::guests(subnet, forwarder.clone());
            let keeper = Keeper::new(Listen::At(address.into()), queries(audience), ending);
            dns.guests = Some((keeper.watch(), forwarder));
            let first = keeper.show(first.and_then(located)).await;
            keeping.push(keeper.keep(first));
        }
        let all = futures_util::future::join_all(keeping);
        (dns, tokio::spawn(async { drop(all.await) }))
    }

    /// How many VMs have a name.
    pub fn names(&self) -> usize {
        self.authority.table().len()
    }

    /// How many queries have been answered in each way.
    pub fn queries(&self) -> Vec<(Verdict, u64)> {
        self.authority.verdicts().collect()
    }

    /// Where the host's queries are answered at this moment.
    pub fn address(&self) -> Option<SocketAddr> {
        match &*self.listening.borrow() {
            Listening::Serving(address) => Some(*address),
            Listening::Off | Listening::Failed { .. } => None,
        }
    }

    /// What the daemon's status says of them, as far as they know.
    pub fn status(&self) -> DnsStatus {
        let (state, address, problem) = self.listening.borrow().describe();
        DnsStatus {
            state,
            address,
            problem,
            records: u32::try_from(self.names()).unwrap_or(u32::MAX),
            queries: self.authority.answered(),
            guests: self.guests.as_ref().map(guest_status).unwrap_or_default(),
            host: HostDnsStatus::default(),
        }
    }
}

fn guest_status(
    (listening, forwarder): &(watch::Receiver<Listening>, Forwarder),
) -> GuestDnsStatus {
    let (state, address, problem) = listening.borrow().describe();
    GuestDnsStatus { state, address, problem, upstreams: forwarder.servers() }
}

/// Queries of one audience.
#[derive(Debug)]
struct Queries {
    authority: Arc<Authority>,
    audience: Audience,
}

impl Service for Queries {
    type Bound = Server;
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Udp, Protocol::Tcp];
    const SERVED: &'static str = "answering DNS queries";
    const UNSERVED: &'static str = "no DNS queries are answered; trying again";

    async fn bind(&self, address: SocketAddr) -> io::Result<(SocketAddr, Server)> {
        located(match (&self.audience, address) {
            (Audience::Guests { .. }, SocketAddr::V4(address)) => Server::bind_ahead(address)?,
            (_, address) => Server::bind(address)?,
        })
    }

    async fn serve(&self, server: Server, ending: CancellationToken) -> io::Result<()> {
        server.run(Arc::clone(&self.authority), self.audience.clone(), ending).await
    }
}

/// A server with the address that it has got.
fn located(server: Server) -> io::Result<(SocketAddr, Server)> {
    Ok((server.address()?, server))
}
