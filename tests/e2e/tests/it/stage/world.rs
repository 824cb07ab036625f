//! What guests may reach: a server, and a network beyond the host.

use super::names::NameServer;
use super::program::tool;
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a server sees whether it is still wanted.
const PERIOD: Duration = Duration::from_millis(50);
/// How long a caller may take to ask.
const LIMIT: Duration = Duration::from_secs(30);

/// A server that tells each caller from where it called, in HTTP.
#[derive(Debug)]
pub(crate) struct Server {
    ended: Arc<AtomicBool>,
    callers: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens in the network of the calling thread.
    pub(crate) fn start(address: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((address, port)).unwrap();
        Self::run(move || listener)
    }

    /// Runs in a thread that first makes its listener.
    fn run(listen: impl FnOnce() -> TcpListener + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let callers = Arc::new(Mutex::new(Vec::new()));
        let (is_over, heard) = (Arc::clone(&ended), Arc::clone(&callers));
        let thread = std::thread::spawn(move || serve(&listen(), &is_over, &heard));
        Self { ended, callers, thread: Some(thread) }
    }

    /// The addresses that have called since this was last asked.
    pub(crate) fn callers(&self) -> Vec<String> {
        std::mem::take(&mut *self.callers.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(listener: &TcpListener, ended: &AtomicBool, callers: &Mutex<Vec<String>>) {
    listener.set_nonblocking(true).unwrap();
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, caller)) => {
                callers.lock().unwrap().push(caller.ip().to_string());
                answer(stream, caller).ok();
            }
            Err(_) => std::thread::park_timeout(PERIOD),
        }
    }
}

fn answer(mut stream: TcpStream, caller: SocketAddr) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    // What is not read when a connection is closed makes the kernel reset it.
    let count = stream.read(&mut [0; 1024])?;
    assert!(count < 1024, "the request is short");
    let body = format!("you are {}\n", caller.ip());
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A network beyond the host, with one server in it, and one for names.
///
/// ```text
/// guest ── banger0 ── the test's network ── veth ── the world's network: server at 10.77.0.2:7000
/// ```
#[derive(Debug)]
pub(crate) struct World {
    server: Server,
    names: NameServer,
}

impl World {
    /// The host's own address on the way to the world.
    pub(crate) const HOST: &str = "10.77.0.1";
    /// The server's address, which is that of all names.
    pub(crate) const SERVER: &str = "10.77.0.2";
    /// A line for a guest's shell: what the server answers, or curl's code; 28 is its time limit.
    pub(crate) const CALL: &str = "curl -sS -m 6 http://10.77.0.2:7000/ 2>&1 || echo code $?";

    /// Makes the network and connects it to that of the calling thread.
    pub(crate) fn new() -> Self {
        let (to_us, from_world) = channel();
        let (to_world, from_us) = channel();
        let (to_names, sockets) = channel();
        let server = Server::run(move || live(&to_us, &from_us, &to_names));
        let thread: String = from_world.recv().unwrap();
        tool("ip", &["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
        tool("ip", &["address", "add", "10.77.0.1/24", "dev", "wire0"]);
        tool("ip", &["link", "set", "wire0", "up"]);
        tool("ip", &["link", "set", "wire1", "netns", &thread]);
        to_world.send(()).unwrap();
        from_world.recv().unwrap();
        Self { server, names: NameServer::start(sockets.recv().unwrap()) }
    }

    /// The names that were asked for here.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.names.asked.lock().unwrap().clone()
    }

    /// The addresses that have called the server since this was last asked.
    pub(crate) fn callers(&self) -> Vec<String> {
        self.server.callers()
    }
}

/// Makes the world around the calling thread, and a listener in it.
fn live(
    to_test: &Sender<String>,
    from_test: &Receiver<()>,
    to_names: &Sender<UdpSocket>,
) -> TcpListener {
    // SAFETY: descriptors stay shared; only the network is left.
    #[expect(unsafe_code, reason = "the world has a network of its own")]
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
    to_test.send(gettid().as_raw_nonzero().to_string()).unwrap();
    from_test.recv().unwrap();
    tool("ip", &["address", "add", "10.77.0.2/24", "dev", "wire1"]);
    tool("ip", &["link", "set", "wire1", "up"]);
    let listener = TcpListener::bind((World::SERVER, 7000)).unwrap();
    to_names.send(UdpSocket::bind((World::SERVER, 53)).unwrap()).unwrap();
    to_test.send(String::new()).unwrap();
    listener
}
