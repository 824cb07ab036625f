//! An address that is listened on, by UDP and TCP.
//!
//! Datagrams have a thread of their own. In a runtime of several threads the one that waits for
//! events is woken by each datagram, while another answers them: a third of the processor time went
//! into that.

use crate::audience::Audience;
use crate::authority::Authority;
use crate::respond::{Asker, Reply, Transport, fail};
use crate::share::Shares;
use crate::sockets::{Presence, Sockets};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The name of the thread that answers datagrams, as `top -H` shows it.
const DATAGRAMS: &str = "dns-datagrams";
/// How long a connection may be idle, or take to read its answer (RFC 7766, section 6.2.3: a few
/// seconds).
const IDLE: Duration = Duration::from_secs(10);
/// How many connections are served at once. More wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How many of them a guest may have. More are closed at once.
const GUEST_CONNECTIONS: usize = 16;
/// How many guests' datagrams wait for others at once, each with a socket.
const FORWARDED: usize = 128;
/// How many of them may be one guest's.
const GUEST_FORWARDED: usize = 32;

/// An address that is listened on.
#[derive(Debug)]
pub struct Server(Sockets);

impl Server {
    /// Takes the address, for UDP and TCP. Port 0 is any port that is free in both. Needs a Tokio
    /// runtime, and so does [`Server::bind_ahead`].
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Sockets::open(address, Presence::Now).map(Self)
    }

    /// Takes an address that no interface has yet, as the bridge's between two VMs. From when one
    /// has it, queries come; a bridge that goes and comes again needs nothing new.
    ///
    /// `IP_FREEBIND` is what allows it (ip(7), Linux 2.4), and it asks for no privilege. A listener
    /// that came with the bridge would be too late for the first guest; one on all addresses and
    /// held to the bridge (`SO_BINDTODEVICE`) would need the bridge to be there as well, and would
    /// be in the way of who has the port elsewhere.
    pub fn bind_ahead(address: SocketAddrV4) -> io::Result<Self> {
        Sockets::open(address.into(), Presence::Later).map(Self)
    }

    /// The address, with the port that was found.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.udp.local_addr()
    }

    /// Answers queries until `ending` is cancelled, or until the sockets fail.
    pub async fn run(
        self,
        authority: Arc<Authority>,
        audience: Audience,
        ending: CancellationToken,
    ) -> io::Result<()> {
        let Sockets { udp, tcp } = self.0;
        let ending = ending.child_token();
        // Also when nobody waits for this any longer.
        let _end = ending.clone().drop_guard();
        let datagrams = Datagrams {
            socket: udp,
            authority: Arc::clone(&authority),
            audience: audience.clone(),
            ending: ending.clone(),
        };
        let mut datagrams = datagrams.serve_in_a_thread()?;
        let served = tokio::select! {
            served = &mut datagrams => return served.map_err(io::Error::other)?,
            served = serve_tcp(&tcp, &authority, &audience) => served,
            () = ending.cancelled() => Ok(()),
        };
        ending.cancel();
        served.and(datagrams.await.map_err(io::Error::other)?)
    }
}

/// What answers datagrams.
struct Datagrams {
    socket: std::net::UdpSocket,
    authority: Arc<Authority>,
    audience: Audience,
    ending: CancellationToken,
}

impl Datagrams {
    /// What comes of it is told once the socket is closed.
    fn serve_in_a_thread(self) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (end, ended) = oneshot::channel();
        let serve = || {
            // It may concern nobody any longer.
            drop(end.send(self.serve_in_this_thread()));
        };
        thread::Builder::new().name(DATAGRAMS.to_owned()).spawn(serve)?;
        Ok(ended)
    }

    fn serve_in_this_thread(self) -> io::Result<()> {
        let Self { socket, authority, audience, ending } = self;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = UdpSocket::from_std(socket)?;
            tokio::select! {
                served = serve_udp(&socket, &authority, &audience) => served,
                () = ending.cancelled() => Ok(()),
            }
        })
    }
}

async fn serve_udp(
    socket: &UdpSocket,
    authority: &Authority,
    audience: &Audience,
) -> io::Result<()> {
    let mut packet = vec![0; usize::from(u16::MAX)];
    // Within this task, so that with it the socket is free.
    let mut forwarded = FuturesUnordered::new();
    let mut shares = Shares::new(GUEST_FORWARDED);
    loop {
        let (length, address) = tokio::select! {
            received = socket.recv_from(&mut packet) => received?,
            Some(()) = forwarded.next() => continue,
        };
        let query = &packet[..length];
        let asker = audience.asker(address.ip());
        match asker.and_then(|asker| authority.respond(query, asker, Transport::Udp)) {
            None => {}
            Some(Reply::Answer(response)) => send(socket, &response, address).await,
            Some(Reply::Elsewhere(refusal)) => {
                let share = shares.take(address.ip()).filter(|_| forwarded.len() < FORWARDED);
                let Some(share) = share else {
                    send(socket, &fail(refusal), address).await;
                    continue;
                };
                let query = query.to_vec();
                forwarded.push(async move {
                    let response = audience.ask_elsewhere(&query, refusal, Transport::Udp).await;
                    send(socket, &response, address).await;
                    drop(share);
                });
            }
        }
    }
}

/// Whom we cannot reach asks again or does not.
async fn send(socket: &UdpSocket, response: &[u8], address: SocketAddr) {
    if let Err(error) = socket.send_to(response, address).await {
        tracing::debug!(%address, %error, "an answer could not be sent");
    }
}

async fn serve_tcp(
    listener: &TcpListener,
    authority: &Arc<Authority>,
    audience: &Audience,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut shares = Shares::new(match audience {
        Audience::Host => CONNECTIONS,
        Audience::Guests { .. } => GUEST_CONNECTIONS,
    });
    loop {
        let accepted = tokio::select! {
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            // The asker left before it was its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let share = shares.take(address.ip());
        let Some((asker, share)) = audience.asker(address.ip()).zip(share) else { continue };
        let (authority, audience) = (Arc::clone(authority), audience.clone());
        connections.spawn(async move {
            serve_connection(stream, authority, audience, asker).await;
            drop(share);
        });
    }
}

/// Answers the queries of a connection in their order, until the asker has no more.
async fn serve_connection(
    mut stream: TcpStream,
    authority: Arc<Authority>,
    audience: Audience,
    asker: Asker,
) {
    let mut query = Vec::new();
    while let Ok(Ok(())) = timeout(IDLE, read_message(&mut stream, &mut query)).await {
        let response = match authority.respond(&query, asker, Transport::Tcp) {
            None => return,
            Some(Reply::Answer(response)) => response,
            Some(Reply::Elsewhere(refusal)) => {
                audience.ask_elsewhere(&query, refusal, Transport::Tcp).await
            }
        };
        let Ok(Ok(())) = timeout(IDLE, write_message(&mut stream, &response)).await else { return };
    }
}

/// Reads a message, which has its length before it (RFC 1035, section 4.2.2).
pub(crate) async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    message.resize(length.into(), 0);
    stream.read_exact(message).await?;
    Ok(())
}

/// Writes a message in one piece, so that it does not leave in two packets.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}
