//! Whether a guest answers over the network.

use async_trait::async_trait;
use banger_core::net::GuestIp;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The port that sshd listens on.
pub(crate) const SSH_PORT: u16 = 22;
/// How long a connection may take; a guest on the same host answers or refuses at once.
const CONNECT: Duration = Duration::from_secs(2);
/// How long sshd may take to send its banner: under emulation it has been seen to take 5 s.
const BANNER: Duration = Duration::from_secs(15);

/// Asks guests for a sign of life.
#[async_trait]
pub trait Reach: Send + Sync + std::fmt::Debug {
    /// Whether sshd sent its banner (RFC 4253, section 4.2) just now.
    async fn ssh(&self, ip: GuestIp) -> bool;

    /// Whether the guest's kernel does anything about a connection to sshd's port, be it to refuse it.
    async fn answers(&self, ip: GuestIp) -> bool;
}

/// Asks over TCP.
#[derive(Debug, Clone, Copy)]
pub struct TcpReach;

#[async_trait]
impl Reach for TcpReach {
    async fn ssh(&self, ip: GuestIp) -> bool {
        let Ok(mut stream) = connect(ip).await else { return false };
        let mut banner = [0; 4];
        let read = timeout(BANNER, stream.read_exact(&mut banner)).await;
        matches!(read, Ok(Ok(_))) && &banner == b"SSH-"
    }

    async fn answers(&self, ip: GuestIp) -> bool {
        match connect(ip).await {
            Ok(_stream) => true,
            Err(error) => {
                matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
            }
        }
    }
}

/// A connection to sshd's port.
async fn connect(ip: GuestIp) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect((ip.address(), SSH_PORT))).await?
}
