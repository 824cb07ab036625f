//! DNS by hand: one question, and a server for which all names are one address.

use super::world::World;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a server sees whether it is still wanted.
const PERIOD: Duration = Duration::from_millis(50);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The length of a message's header.
const HEADER: usize = 12;
/// The type and class of an IPv4 address.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// A server that answers each question for an address with that of the world's server.
#[derive(Debug)]
pub(super) struct NameServer {
    /// The names that were asked for.
    pub(super) asked: Arc<Mutex<BTreeSet<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    pub(super) fn start(socket: UdpSocket) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let (is_over, heard) = (Arc::clone(&ended), Arc::clone(&asked));
        let thread = std::thread::spawn(move || serve(&socket, &is_over, &heard));
        Self { asked, ended, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(socket: &UdpSocket, ended: &AtomicBool, asked: &Mutex<BTreeSet<String>>) {
    socket.set_read_timeout(Some(PERIOD)).unwrap();
    let mut packet = [0; 4096];
    while !ended.load(Ordering::Relaxed) {
        match socket.recv_from(&mut packet) {
            Ok((length, asker)) => {
                let (name, end) = read_name(&packet[..length]);
                asked.lock().unwrap().insert(name);
                socket.send_to(&answer(&packet[..end + 4]), asker).unwrap();
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
            }
        }
    }
}

/// The answer to a message that is cut after its question.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    if question.ends_with(&ADDRESS) {
        answer[7] = 1;
        // The name of the question, type and class, a minute, four bytes.
        answer.extend([0xc0, 0x0c]);
        answer.extend(ADDRESS);
        answer.extend([0, 0, 0, 60, 0, 4]);
        answer.extend(World::SERVER.parse::<Ipv4Addr>().unwrap().octets());
    }
    answer
}

/// The name in a message's question, and where it ends.
fn read_name(message: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), at + 1)
}

/// The first address that a server gives for a name.
pub(crate) fn lookup(server: SocketAddr, name: &str) -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len().try_into().unwrap());
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(ADDRESS);
    socket.send_to(&query, server).unwrap();
    let mut packet = [0; 4096];
    let length = socket.recv(&mut packet).unwrap();
    let (record, count) = (&packet[query.len()..length], packet[7]);
    assert_eq!((&packet[..2], packet[3] & 0xf), (&query[..2], 0));
    // A name that is one pointer back, type and class, time to live, length.
    (count > 0).then(|| record[12..16].iter().map(u8::to_string).collect::<Vec<_>>().join("."))
}
