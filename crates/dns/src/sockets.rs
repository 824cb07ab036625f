//! An address that is listened on: its two sockets, which have the same port.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use tokio::net::TcpListener;

/// How many connections the kernel keeps for us to take.
const BACKLOG: i32 = 128;
/// How often two free ports of one number are looked for.
const ATTEMPTS: usize = 16;

/// Whether an interface has to have the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// One has it.
    Now,
    /// One may get it, and lose it, and get it again.
    Later,
}

/// The sockets of an address, neither of which blocks.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

impl Sockets {
    /// Takes the address for both. Port 0 is any port that is free in both.
    pub(crate) fn open(address: SocketAddr, presence: Presence) -> io::Result<Self> {
        let mut attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let tcp = bound(SocketType::STREAM, address, presence)?;
            listen(&tcp, BACKLOG)?;
            let tcp = TcpListener::from_std(tcp.into())?;
            match bound(SocketType::DGRAM, tcp.local_addr()?, presence) {
                Ok(udp) => return Ok(Self { udp: udp.into(), tcp }),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

fn bound(kind: SocketType, address: SocketAddr, presence: Presence) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if presence == Presence::Later {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // As every listener: connections that have ended are not in the way of the next daemon.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}
