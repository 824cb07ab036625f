//! Asking others: names that are not ours, for guests, at the host's own resolvers.
//!
//! A query goes on as the bytes that came, with an id of its own and from a port of its own, and so
//! does its answer come back; what options they hold is between the two who use them.

use crate::respond::{HEADER, Transport};
use crate::server::{read_message, write_message};
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long all servers together have: less than the five seconds after which a resolver gives its
/// only server up (resolv.conf(5), `timeout`).
const DEADLINE: Duration = Duration::from_millis(4500);
/// Response codes of a server that may know less than the next one.
const FAILURES: [u8; 2] = [2, 5];

/// The servers that know the rest of the world's names.
pub trait Upstreams: Send + Sync + Debug {
    /// Those of this moment, the best first.
    fn servers(&self) -> Vec<SocketAddr>;
}

/// Passes queries on.
#[derive(Debug, Clone)]
pub struct Forwarder {
    upstreams: Arc<dyn Upstreams>,
}

impl Forwarder {
    /// A forwarder to these servers, which are asked for anew with each query.
    pub fn new(upstreams: Arc<dyn Upstreams>) -> Self {
        Self { upstreams }
    }

    /// The servers of this moment.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.upstreams.servers()
    }

    /// The answer to a query, with the query's id; `None` when no server has one in time.
    ///
    /// A query goes on the way it came. So an answer that is too long for a datagram reaches its
    /// asker cut short, as the server sent it; the asker comes back through a connection, and gets
    /// the whole through one.
    pub(crate) async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let servers = self.servers();
        let patience = DEADLINE / u32::try_from(servers.len().max(1)).ok()?;
        let mut failure = None;
        for server in servers {
            match timeout(patience, exchange(server, query, transport)).await {
                Ok(Ok(answer)) if FAILURES.contains(&(answer[3] & 0xf)) => {
                    failure.get_or_insert(answer);
                }
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server cannot be asked"),
                Err(_) => tracing::debug!(%server, "a name server does not answer"),
            }
        }
        failure
    }
}

async fn exchange(server: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    let id = getrandom::u32().map_err(io::Error::other)?.to_be_bytes();
    let mut ours = query.to_vec();
    ours[..2].copy_from_slice(&id[..2]);
    let mut answer = match transport {
        Transport::Udp => by_datagram(server, &ours).await?,
        Transport::Tcp => by_connection(server, &ours).await?,
    };
    answer[..2].copy_from_slice(&query[..2]);
    Ok(answer)
}

/// The kernel picks a random port, and hands over only what comes from the server.
async fn by_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut packet = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut packet).await?;
        // What does not fit may be forged; the true answer is still awaited.
        if is_answer(&packet[..length], query) {
            packet.truncate(length);
            return Ok(packet);
        }
    }
}

async fn by_connection(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query).await?;
    let mut answer = Vec::new();
    read_message(&mut stream, &mut answer).await?;
    let fits = is_answer(&answer, query);
    if fits { Ok(answer) } else { Err(io::Error::other("it answered another question")) }
}

/// Whether a packet answers the query: the same id and question, and it says that it is an answer.
fn is_answer(packet: &[u8], query: &[u8]) -> bool {
    let is_response = packet.len() >= HEADER && packet[2] & 0x80 != 0 && packet[..2] == query[..2];
    let (asked, answered) = (question(query), question(packet));
    let same = asked.zip(answered).is_some_and(|((name, rest), (other, others))| {
        name.eq_ignore_ascii_case(other) && rest == others
    });
    is_response && same
}

/// The name of a message's one question, and its type and class. No compression: nothing stands
/// before it.
fn question(message: &[u8]) -> Option<(&[u8], &[u8])> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut end = HEADER;
    loop {
        match usize::from(*message.get(end)?) {
            0 => break,
            length @ 1..=63 => end += 1 + length,
            _ => return None,
        }
    }
    Some((message.get(HEADER..=end)?, message.get(end + 1..end + 5)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01";

    fn answer() -> Vec<u8> {
        let mut answer = QUERY.to_vec();
        answer[2] |= 0x80;
        answer
    }

    #[test]
    fn an_answer_has_the_id_and_the_question_in_any_case() {
        assert!(is_answer(&answer(), QUERY));
        let mut upper = answer();
        upper[13] = b'A';
        assert!(is_answer(&upper, QUERY));
        // The id, the kind of message, the count, the name, the type, the class.
        for at in [0, 1, 5, 13, 16, 19, 21] {
            let mut other = answer();
            other[at] ^= 1;
            assert!(!is_answer(&other, QUERY), "byte {at}");
        }
        assert!(!is_answer(QUERY, QUERY));
    }

    proptest! {
        #[test]
        fn any_packet_is_looked_at_without_a_panic(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut near = answer();
            near.extend(&packet);
            prop_assert!(is_answer(&near, QUERY));
            let _verdict = is_answer(&packet, QUERY);
            near.truncate(packet.len());
            prop_assert_eq!(is_answer(&near, QUERY), near.len() >= QUERY.len());
        }
    }
}
