//! The sockets: one address, UDP and TCP.

use crate::authority::Authority;
use crate::respond::Transport;
use std::io;
use std::net::SocketAddr;
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

    /// The address, with the port that was found.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers queries until `ending` is cancelled, or until the sockets fail.
    pub async fn run(self, authority: Arc<Authority>, ending: CancellationToken) -> io::Result<()> {
        tokio::select! {
            () = ending.cancelled() => Ok(()),
            result = serve_udp(&self.udp, &authority) => result,
            result = serve_tcp(&self.tcp, &authority) => result,
        }
    }
}

async fn serve_udp(socket: &UdpSocket, authority: &Authority) -> io::Result<()> {
    let mut packet = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, asker) = socket.recv_from(&mut packet).await?;
        let Some(response) = authority.respond(&packet[..length], Transport::Udp) else { continue };
        // Whom we cannot reach asks again or does not.
        if let Err(error) = socket.send_to(&response, asker).await {
            tracing::debug!(%asker, %error, "an answer could not be sent");
        }
    }
}

async fn serve_tcp(listener: &TcpListener, authority: &Arc<Authority>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(stream, Arc::clone(authority)));
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
async fn serve_connection(mut stream: TcpStream, authority: Arc<Authority>) {
    let mut query = Vec::new();
    while let Ok(Ok(())) = timeout(IDLE, read_message(&mut stream, &mut query)).await {
        let Some(response) = authority.respond(&query, Transport::Tcp) else { return };
        let Ok(Ok(())) = timeout(IDLE, write_message(&mut stream, &response)).await else { return };
    }
}

/// Reads a message, which has its length before it (RFC 1035, section 4.2.2).
async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    message.resize(length.into(), 0);
    stream.read_exact(message).await?;
    Ok(())
}

/// Writes a message in one piece, so that it does not leave in two packets.
async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}
