//! Carrying bytes between a port of the host's loopback address and a guest.
//!
//! What is kept for clients is bounded, so that none of them can use the daemon up.

use banger_core::forward::HostPort;
use banger_core::net::Protocol;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a guest may take to accept a connection; one that listens does so at once.
const CONNECT: Duration = Duration::from_secs(5);
/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);
/// How many datagrams wait for one client's session; more are lost, as datagrams may be.
const QUEUE: usize = 64;
/// The largest datagram over IPv4 has 65,507 bytes.
const DATAGRAM: usize = 65_507;

/// What is kept for clients at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections, or clients of a UDP port.
    pub(crate) clients: usize,
    /// How long a client of a UDP port is remembered after its last datagram either way.
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clients: 256, idle: Duration::from_secs(60) }
    }
}

/// A port of the host that is held.
#[derive(Debug)]
pub(crate) enum Socket {
    /// For connections.
    Tcp(TcpListener),
    /// For datagrams.
    Udp(UdpSocket),
}

impl Socket {
    /// Takes the port, without waiting. Needs a Tokio runtime.
    pub(crate) fn bind(from: HostPort) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, from.host_port.get());
        Ok(match from.protocol {
            Protocol::Tcp => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            Protocol::Udp => {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Self::Udp(UdpSocket::from_std(socket)?)
            }
        })
    }

    /// Serves clients until the port fails. When it is dropped, so are all clients.
    pub(crate) async fn serve(self, guest: SocketAddr, limits: Limits) -> io::Error {
        match self {
            Self::Tcp(listener) => serve_tcp(&listener, guest, limits).await,
            Self::Udp(socket) => serve_udp(socket, guest, limits).await,
        }
    }
}

async fn serve_tcp(listener: &TcpListener, guest: SocketAddr, limits: Limits) -> ! {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            // Those beyond the limit wait in the kernel's queue.
            accepted = listener.accept(), if clients.len() < limits.clients => match accepted {
                Ok((client, _)) => drop(clients.spawn(connect(client, guest))),
                // A client that has left again, or no descriptor is free (accept(2)): in neither
                // case is anything wrong with the port.
                Err(error) => {
                    tracing::debug!(%guest, %error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

/// Carries one connection to its end. The end of what one side sends is passed on to the other,
/// which may go on sending.
async fn connect(mut client: TcpStream, guest: SocketAddr) {
    match timeout(CONNECT, TcpStream::connect(guest)).await {
        Ok(Ok(mut stream)) => {
            if let Err(error) = copy_bidirectional(&mut client, &mut stream).await {
                tracing::debug!(%guest, %error, "a forwarded connection broke off");
            }
        }
        Ok(Err(error)) => tracing::debug!(%guest, %error, "a forwarded connection was refused"),
        Err(_late) => tracing::debug!(%guest, "a forwarded connection was not answered"),
    }
}

async fn serve_udp(socket: UdpSocket, guest: SocketAddr, limits: Limits) -> io::Error {
    let socket = Arc::new(socket);
    let mut sessions: BTreeMap<SocketAddr, Sender<Vec<u8>>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut packet = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut packet) => {
                let (length, client) = match received {
                    Ok(received) => received,
                    Err(error) => return error,
                };
                if !sessions.contains_key(&client) && sessions.len() >= limits.clients {
                    tracing::debug!(%guest, %client, "too many clients; a datagram is lost");
                    continue;
                }
                let session = sessions.entry(client).or_insert_with(|| {
                    let (sender, datagrams) = mpsc::channel(QUEUE);
                    let session = Session { socket: Arc::clone(&socket), client, guest };
                    tasks.spawn(async move {
                        if let Err(error) = session.run(datagrams, limits.idle).await {
                            tracing::debug!(%guest, %client, %error, "a forwarded client is left");
                        }
                        client
                    });
                    sender
                });
                match session.try_send(packet[..length].to_vec()) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                        tracing::debug!(%guest, %client, "a datagram is lost");
                    }
                }
            }
            Some(Ok(client)) = tasks.join_next() => drop(sessions.remove(&client)),
        }
    }
}

/// One client of a UDP port.
#[derive(Debug)]
struct Session {
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    guest: SocketAddr,
}

impl Session {
    /// Carries datagrams both ways until there are none for some time.
    async fn run(self, mut datagrams: Receiver<Vec<u8>>, idle: Duration) -> io::Result<()> {
        let guest = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        guest.connect(self.guest).await?;
        let mut packet = vec![0; DATAGRAM];
        loop {
            tokio::select! {
                datagram = datagrams.recv() => {
                    let Some(datagram) = datagram else { return Ok(()) };
                    unless_refused(guest.send(&datagram).await)?;
                }
                received = guest.recv(&mut packet) => {
                    if let Some(length) = unless_refused(received)? {
                        self.socket.send_to(&packet[..length], self.client).await?;
                    }
                }
                () = tokio::time::sleep(idle) => return Ok(()),
            }
        }
    }
}

/// That nobody listens in the guest is told with the next call (udp(7)), and may change.
fn unless_refused(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn in_time<T>(what: impl Future<Output = T>) -> T {
        timeout(PATIENCE, what).await.expect("it takes too long")
    }

    /// A forwarded TCP port, and the guest's listener behind it.
    async fn tcp(limits: Limits) -> (SocketAddr, TcpListener, tokio::task::JoinHandle<io::Error>) {
        let guest = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (host.local_addr().unwrap(), guest.local_addr().unwrap());
        (address, guest, tokio::spawn(Socket::Tcp(host).serve(to, limits)))
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let (address, guest, _task) = tcp(Limits::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut served, _) = in_time(guest.accept()).await.unwrap();
        let mut asked = String::new();
        in_time(served.read_to_string(&mut asked)).await.unwrap();
        assert_eq!(asked, "question");
        served.write_all(b"answer").await.unwrap();
        drop(served);
        let mut answered = String::new();
        in_time(client.read_to_string(&mut answered)).await.unwrap();
        assert_eq!(answered, "answer");
    }

    #[tokio::test]
    async fn a_guest_that_refuses_ends_the_connection_and_not_the_port() {
        let (address, guest, _task) = tcp(Limits::default()).await;
        drop(guest);
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let ended = in_time(client.read(&mut [0])).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        }
    }

    #[tokio::test]
    async fn connections_end_with_the_port() {
        let (address, guest, task) = tcp(Limits::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = in_time(guest.accept()).await.unwrap();
        task.abort();
        assert!(matches!(in_time(served.read(&mut [0])).await, Ok(0) | Err(_)));
        assert!(matches!(in_time(client.read(&mut [0])).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_its_turn() {
        let (address, guest, _task) = tcp(Limits { clients: 1, ..Limits::default() }).await;
        let first = TcpStream::connect(address).await.unwrap();
        let (served, _) = in_time(guest.accept()).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let early = timeout(Duration::from_millis(200), guest.accept()).await;
        assert!(early.is_err(), "{early:?}");
        drop((first, served));
        in_time(guest.accept()).await.unwrap();
    }

    /// A forwarded UDP port, and the guest's socket behind it.
    async fn udp(limits: Limits) -> (SocketAddr, UdpSocket) {
        let guest = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let host = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (host.local_addr().unwrap(), guest.local_addr().unwrap());
        drop(tokio::spawn(Socket::Udp(host).serve(to, limits)));
        (address, guest)
    }

    async fn client(address: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        socket
    }

    /// What comes next, and whose it is.
    async fn next(socket: &UdpSocket) -> (String, SocketAddr) {
        let mut packet = [0; 100];
        let (length, from) = in_time(socket.recv_from(&mut packet)).await.unwrap();
        (String::from_utf8_lossy(&packet[..length]).into_owned(), from)
    }

    #[tokio::test]
    async fn each_client_of_a_udp_port_gets_its_own_answers() {
        let (address, guest) = udp(Limits::default()).await;
        let (one, two) = (client(address).await, client(address).await);
        one.send(b"one").await.unwrap();
        let (said, to_one) = next(&guest).await;
        assert_eq!(said, "one");
        two.send(b"two").await.unwrap();
        let (said, to_two) = next(&guest).await;
        assert_eq!(said, "two");
        guest.send_to(b"for two", to_two).await.unwrap();
        guest.send_to(b"for one", to_one).await.unwrap();
        assert_eq!(next(&one).await.0, "for one");
        assert_eq!(next(&two).await.0, "for two");
        one.send(b"again").await.unwrap();
        assert_eq!(next(&guest).await, ("again".to_owned(), to_one));
    }

    #[tokio::test]
    async fn a_client_beyond_the_limit_has_a_place_when_another_is_forgotten() {
        let limits = Limits { clients: 1, idle: Duration::from_millis(300) };
        let (address, guest) = udp(limits).await;
        let (one, two) = (client(address).await, client(address).await);
        one.send(b"one").await.unwrap();
        assert_eq!(next(&guest).await.0, "one");
        let mut sent = 0;
        let arrived = in_time(async {
            loop {
                two.send(b"two").await.unwrap();
                sent += 1;
                if let Ok(next) = timeout(Duration::from_millis(20), next(&guest)).await {
                    return next;
                }
            }
        });
        assert_eq!(arrived.await.0, "two");
        assert!(sent > 1, "the limit did not hold");
    }
}
