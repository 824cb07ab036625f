//! A server of prepared answers on a loopback port of its own; it ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// What a path is answered with; an unknown one with 404.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// These bytes, with or without their length.
    Bytes(Vec<u8>, bool),
    /// A place elsewhere.
    Redirect(&'static str),
    /// The first half of these bytes, with the length of all.
    Short(Vec<u8>),
    /// No HTTP.
    Nonsense,
}

pub(super) struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(answers: &[(&'static str, Answer)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (answers.to_vec(), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if answer(stream.unwrap(), &answers, &count) == Goes::Ends {
                    return;
                }
            }
        });
        Self { address, asked, thread: Some(thread) }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"END\r\n\r\n").unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[derive(PartialEq, Eq)]
enum Goes {
    On,
    Ends,
}

/// Answers one request. The client may leave at any time.
fn answer(mut stream: TcpStream, answers: &[(&'static str, Answer)], asked: &AtomicUsize) -> Goes {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        // A client that speaks TLS sends no text.
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
            return Goes::On;
        }
    }
    if head.starts_with("END") {
        return Goes::Ends;
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let path = head.split(' ').nth(1).unwrap();
    let found = answers.iter().find(|(known, _)| *known == path).map(|(_, answer)| answer);
    let (head, body): (String, &[u8]) = match found {
        None => ("404 Not Found\r\nContent-Length: 0".to_owned(), &[]),
        Some(Answer::Bytes(bytes, true)) => {
            (format!("200 OK\r\nContent-Length: {}", bytes.len()), bytes)
        }
        Some(Answer::Bytes(bytes, false)) => ("200 OK".to_owned(), bytes),
        Some(Answer::Redirect(to)) => {
            (format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0"), &[])
        }
        Some(Answer::Short(bytes)) => {
            (format!("200 OK\r\nContent-Length: {}", bytes.len()), &bytes[..bytes.len() / 2])
        }
        Some(Answer::Nonsense) => ("\0".to_owned(), b"nonsense"),
    };
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
    Goes::On
}
