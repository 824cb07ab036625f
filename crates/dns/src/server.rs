//! The sockets: one address, UDP and TCP.

use crate::audience::Audience;
use crate::authority::Authority;
use crate::respond::{Asker, Reply, Transport, fail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a connection may be idle, or take to read its answer (RFC 7766, section 6.2.3: a few
/// seconds).
const IDLE: Duration = Duration::from_secs(10);
/// How many connections are served at once. More wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How many guests' datagrams wait for others at once, each with a socket.
const FORWARDED: usize = 128;
/// How many connections the kernel keeps for us to take.
const BACKLOG: i32 = 128;
/// How often two free ports of one number are looked for.
const ATTEMPTS: usize = 16;

/// An address that is listened on.
#[derive(Debug)]
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Server {
    /// Takes the address, for UDP and TCP. Port 0 is any port that is free in both.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let tcp = TcpListener::bind(address).await?;
            match UdpSocket::bind(tcp.local_addr()?).await {
                Ok(udp) => return Ok(Self { udp, tcp }),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Takes an address that no interface has yet, as the bridge's between two VMs. From when one
    /// has it, queries come; a bridge that goes and comes again needs nothing new.
    ///
    /// `IP_FREEBIND` is what allows it (ip(7), Linux 2.4), and it asks for no privilege. A listener
    /// that came with the bridge would be too late for the first guest; one on all addresses and
    /// held to the bridge (`SO_BINDTODEVICE`) would need the bridge to be there as well, and would
    /// be in the way of who has the port elsewhere.
    pub fn bind_ahead(address: SocketAddrV4) -> io::Result<Self> {
        let mut attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let tcp = open_ahead(SocketType::STREAM, address)?;
            listen(&tcp, BACKLOG)?;
            let tcp = TcpListener::from_std(tcp.into())?;
            let SocketAddr::V4(taken) = tcp.local_addr()? else { unreachable!("it is IPv4's") };
            match open_ahead(SocketType::DGRAM, taken) {
                Ok(udp) => return Ok(Self { udp: UdpSocket::from_std(udp.into())?, tcp }),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The address, with the port that was found.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers queries until `ending` is cancelled, or until the sockets fail.
    pub async fn run(
        self,
        authority: Arc<Authority>,
        audience: Audience,
        ending: CancellationToken,
    ) -> io::Result<()> {
        let Self { udp, tcp } = self;
        tokio::select! {
            () = ending.cancelled() => Ok(()),
            result = serve_udp(&udp, &authority, &audience) => result,
            result = serve_tcp(&tcp, &authority, &audience) => result,
        }
    }
}

fn open_ahead(kind: SocketType, address: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    sockopt::set_ip_freebind(&socket, true)?;
    if kind == SocketType::STREAM {
        // As every listener: connections that have ended are not in the way of the next daemon.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

async fn serve_udp(
    socket: &UdpSocket,
    authority: &Authority,
    audience: &Audience,
) -> io::Result<()> {
    let mut packet = vec![0; usize::from(u16::MAX)];
    // Within this task, so that with it the socket is free.
    let mut forwarded = FuturesUnordered::new();
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
            Some(Reply::Elsewhere(refusal)) if forwarded.len() >= FORWARDED => {
                send(socket, &fail(refusal), address).await;
            }
            Some(Reply::Elsewhere(refusal)) => {
                let query = query.to_vec();
                forwarded.push(async move {
                    let response = audience.ask_elsewhere(&query, refusal, Transport::Udp).await;
                    send(socket, &response, address).await;
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
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                match accepted {
                    Ok((stream, address)) => {
                        let Some(asker) = audience.asker(address.ip()) else { continue };
                        let (authority, audience) = (Arc::clone(authority), audience.clone());
                        connections.spawn(serve_connection(stream, authority, audience, asker));
                    }
                    // The asker left before it was its turn.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Err(error),
                }
            }
        }
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
