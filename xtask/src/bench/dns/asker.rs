//! A client that has one query outstanding.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is waited for. It is measured what answers take, not whether they are lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// The length of a message's header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// An address record that asks for the Internet class.
const A_IN: [u8; 4] = [0, 1, 0, 1];

/// A client of one server.
#[derive(Debug)]
pub(super) struct Asker {
    socket: UdpSocket,
    id: u16,
}

impl Asker {
    pub(super) fn of(server: SocketAddr) -> Result<Self> {
        let opened = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            std::io::Result::Ok(socket)
        };
        let socket = opened().with_context(|| format!("cannot ask {server}"))?;
        Ok(Self { socket, id: 0 })
    }

    /// The address of a name, if it has one, and how long the answer took.
    pub(super) fn ask(&mut self, name: &str) -> Result<(Option<Ipv4Addr>, Duration)> {
        self.id = self.id.wrapping_add(1);
        let query = query(self.id, name)?;
        let mut packet = [0; 512];
        let since = Instant::now();
        let exchanged = self.socket.send(&query).and_then(|_| self.socket.recv(&mut packet));
        let took = since.elapsed();
        let length = exchanged.with_context(|| format!("`{name}` is not answered"))?;
        Ok((address(&packet[..length], &query)?, took))
    }
}

/// A query for a name's address.
fn query(id: u16, name: &str) -> Result<Vec<u8>> {
    let mut query = id.to_be_bytes().to_vec();
    // A plain query that wishes recursion, with one question and no records.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(A_IN);
    Ok(query)
}

/// The address in an answer: its last four bytes, when it has one record and nothing after it.
fn address(packet: &[u8], query: &[u8]) -> Result<Option<Ipv4Addr>> {
    if packet.len() < HEADER || packet[..2] != query[..2] || packet[2] & 0x80 == 0 {
        bail!("what came is no answer to the query");
    }
    let has_one = packet[3] & 0xf == 0 && packet[4..HEADER] == [0, 1, 0, 1, 0, 0, 0, 0];
    let last = packet.last_chunk::<4>().filter(|_| has_one);
    Ok(last.map(|bytes| Ipv4Addr::from(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_dig_would_send() {
        let expected = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05otter\x02vm\x00\
                         \x00\x01\x00\x01";
        assert_eq!(query(7, "otter.vm").unwrap(), expected);
    }

    #[test]
    fn an_address_is_taken_from_a_good_answer_alone() {
        let query = query(7, "otter.vm").unwrap();
        let mut answer = query.clone();
        answer[2] |= 0x80;
        assert_eq!(address(&answer, &query).unwrap(), None, "it has no record");
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\xac\x10\x00\x02");
        assert_eq!(address(&answer, &query).unwrap(), Some(Ipv4Addr::new(172, 16, 0, 2)));
        answer[3] |= 3;
        assert_eq!(address(&answer, &query).unwrap(), None, "there is no such name");
        answer[0] = 1;
        assert!(address(&answer, &query).is_err());
    }
}
