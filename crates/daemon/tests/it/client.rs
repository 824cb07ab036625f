//! Plain HTTP over a Unix socket, so that the tests see what `curl` would.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    /// The body as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The error's code.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().expect("an error has a code").to_owned()
    }

    /// The body as events.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The outcome of an operation that succeeded.
    #[track_caller]
    pub(crate) fn outcome(&self) -> Value {
        let last = self.events().pop().expect("a stream is not empty");
        assert_eq!(last["event"], "done", "{}", self.text);
        last["outcome"].clone()
    }

    /// The error of an operation that failed on its way.
    #[track_caller]
    pub(crate) fn failure(&self) -> Value {
        let last = self.events().pop().expect("a stream is not empty");
        assert_eq!(last["event"], "failed", "{}", self.text);
        last["error"].clone()
    }
}

/// An answer that is still coming. The connection ends with it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Stream {
    /// The next bytes as text; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let frame = self.response.body_mut().frame().await?;
        let bytes = frame.expect("the connection holds").into_data().expect("no trailers");
        Some(String::from_utf8(bytes.to_vec()).expect("text"))
    }

    /// Reads until the text that came so far holds `wanted`.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            let more = self.next().await;
            text += &more.unwrap_or_else(|| panic!("ended without {wanted:?}: {text}"));
        }
        text
    }
}

/// Sends a request; an answer has begun when this returns.
pub(crate) async fn open(socket: &Path, method: &str, path: &str, body: &str) -> Stream {
    let stream = UnixStream::connect(socket).await.expect("the daemon listens");
    open_on(stream, method, path, body).await
}

async fn open_on<S>(stream: S, method: &str, path: &str, body: &str) -> Stream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder().method(method).uri(path).header("host", "banger");
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.expect("the daemon answers");
    Stream { response, connection }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    read(open(socket, method, path, body).await).await
}

/// The same for a path that is got by TCP.
pub(crate) async fn ask_at(address: SocketAddr, path: &str) -> Answer {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    read(open_on(stream, "GET", path, "").await).await
}

async fn read(mut stream: Stream) -> Answer {
    let status = stream.response.status().as_u16();
    let body = stream.response.body_mut().collect().await.expect("the answer is whole");
    Answer { status, text: String::from_utf8(body.to_bytes().to_vec()).expect("text") }
}
