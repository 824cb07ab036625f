//! A server on a free port of the loopback interface, with a table that the test changes, and who
//! asks it.

use banger_core::dns::{Entry, Scope, Table};
use banger_dns::{Audience, Authority, Lifetimes, Server};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
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

fn table(serial: u32, running: Vec<Entry>) -> Arc<Table> {
    Arc::new(Table::new("172.16.0.1/24".parse().unwrap(), serial, running))
}

pub(crate) fn entry(name: &str, ip: Ipv4Addr, scope: Scope) -> Entry {
    Entry { name: name.parse().unwrap(), ip: ip.into(), scope }
}

/// The VMs, each with the last byte of its address.
fn entries(running: &[(&str, u8)]) -> Vec<Entry> {
    let one = |(name, last): &(&str, u8)| entry(name, [172, 16, 0, *last].into(), Scope::Ours);
    running.iter().map(one).collect()
}

impl Scene {
    pub(crate) async fn start(running: &[(&str, u8)]) -> Self {
        Self::start_for(Audience::Host, entries(running)).await
    }

    pub(crate) async fn start_for(audience: Audience, running: Vec<Entry>) -> Self {
        let (sender, receiver) = watch::channel(table(1, running));
        let lifetimes = Lifetimes { positive: 5, negative: 0 };
        let authority = Arc::new(Authority::new(receiver, lifetimes));
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (address, ending) = (server.address().unwrap(), CancellationToken::new());
        let running = tokio::spawn(server.run(Arc::clone(&authority), audience, ending.clone()));
        Self { address, authority, table: sender, ending, running }
    }

    /// Other VMs run from now on.
    pub(crate) fn swap(&self, running: &[(&str, u8)]) {
        self.swap_entries(entries(running));
    }

    pub(crate) fn swap_entries(&self, running: Vec<Entry>) {
        let serial = self.authority.table().serial() + 1;
        self.table.send_replace(table(serial, running));
    }

    /// Ends the server in good order; its port is free then.
    pub(crate) async fn end(self) {
        self.ending.cancel();
        timeout(LONG, self.running).await.unwrap().unwrap().unwrap();
        Server::bind(self.address).unwrap();
    }
}

pub(crate) fn query(id: u16, name: &str, of: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), of));
    message.to_vec().unwrap()
}

/// Someone who asks by UDP.
pub(crate) struct Asker {
    pub(crate) socket: UdpSocket,
}

impl Asker {
    pub(crate) async fn of(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        Self { socket }
    }

    pub(crate) async fn send(&self, name: &str, of: RecordType) {
        self.socket.send(&query(1, name, of)).await.unwrap();
    }

    pub(crate) async fn receive(&self) -> Vec<u8> {
        let mut packet = vec![0; 4096];
        let length = timeout(LONG, self.socket.recv(&mut packet)).await.unwrap().unwrap();
        packet.truncate(length);
        packet
    }

    pub(crate) async fn ask(&self, name: &str, of: RecordType) -> Message {
        self.send(name, of).await;
        Message::from_vec(&self.receive().await).unwrap()
    }

    /// The address of a name, or why there is none.
    pub(crate) async fn address(&self, name: &str) -> Result<Ipv4Addr, ResponseCode> {
        let response = self.ask(name, RecordType::A).await;
        match response.answers.first().map(|record| &record.data) {
            Some(RData::A(address)) => Ok(address.0),
            _ => Err(response.metadata.response_code),
        }
    }
}

pub(crate) async fn read_frame(stream: &mut TcpStream) -> Message {
    let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut packet).await.unwrap();
    Message::from_vec(&packet).unwrap()
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}
