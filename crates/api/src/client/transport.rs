//! Requests over the Unix socket, and the three kinds of answer.

use super::error::ClientError;
use super::stream::{Body, EventStream, LogStream};
use crate::ErrorBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// How long the daemon may take over an answer that is one document. The slowest of them measures
/// for half a second.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(30);

/// The way to one socket.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    socket: PathBuf,
}

/// The task that moves a connection's bytes. It ends with its owner.
#[derive(Debug)]
pub(super) struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request, for the message of an error: `GET /v1/vms`.
fn title(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

impl Transport {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A request whose answer is one JSON document.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let title = title(&method, path);
        let bytes = in_time(&title, async {
            let (response, _pump) = self.send(method, path, body).await?;
            whole(response).await
        })
        .await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Protocol {
            request: title,
            what: "it is not the document that was expected".to_owned(),
            source: Some(source),
        })
    }

    /// A request that is answered by its status alone.
    pub(super) async fn accepted(&self, method: Method, path: &str) -> Result<(), ClientError> {
        let title = title(&method, path);
        in_time(&title, async {
            let (response, _pump) = self.send(method, path, None).await?;
            whole(response).await.map(drop)
        })
        .await
    }

    /// A request that is answered by events.
    pub(super) async fn events(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<EventStream, ClientError> {
        let request = title(&method, path);
        let (response, pump) = self.send(method, path, body).await?;
        Ok(EventStream::new(request, Body::new(response.into_body(), pump)))
    }

    /// A request that is answered by bytes.
    pub(super) async fn bytes(&self, path: &str) -> Result<LogStream, ClientError> {
        let (response, pump) = self.send(Method::GET, path, None).await?;
        Ok(LogStream::new(Body::new(response.into_body(), pump)))
    }

    /// Sends a request and awaits the head of a good answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(Response<Incoming>, Pump), ClientError> {
        let broken = |source| ClientError::BrokenOff { op_id: None, source: Some(source) };
        let title = title(&method, path);
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let pump = Pump(tokio::spawn(async move {
            // What goes wrong here also ends the response, where it is reported.
            drop(connection.await);
        }));
        let mut request = Request::builder().method(method).uri(path).header(HOST, "banger");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .expect("paths are escaped and headers are constant");
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status().is_success() {
            return Ok((response, pump));
        }
        Err(in_time(&title, refusal(title.clone(), response)).await?)
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let socket = || self.socket.clone();
        let user = rustix::process::geteuid().as_raw();
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(match owner(&self.socket).filter(|owner| *owner != user) {
                    Some(owner) => ClientError::ForeignSocket { socket: socket(), owner, user },
                    None => ClientError::Forbidden { socket: socket(), source },
                });
            }
            Err(source) => return Err(ClientError::Unreachable { socket: socket(), source }),
        };
        // In a directory that everybody can write to, anybody could have put a socket there.
        let served_by = stream
            .peer_cred()
            .map_err(|source| ClientError::Forbidden { socket: socket(), source })?;
        match served_by.uid() {
            owner if owner == user || owner == 0 || user == 0 => Ok(stream),
            owner => Err(ClientError::ForeignSocket { socket: socket(), owner, user }),
        }
    }
}

/// Whose the socket is; if not even that may be seen, whose its directory is.
fn owner(socket: &Path) -> Option<u32> {
    socket.ancestors().find_map(|path| path.symlink_metadata().ok()).map(|file| file.uid())
}

/// Bounds a future that yields one document.
async fn in_time<T>(
    request: &str,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(DOCUMENT_DEADLINE, answer).await.unwrap_or_else(|_| {
        Err(ClientError::Silent {
            request: request.to_owned(),
            seconds: DOCUMENT_DEADLINE.as_secs(),
        })
    })
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await;
    let broken = |source| ClientError::BrokenOff { op_id: None, source: Some(source) };
    body.map(http_body_util::Collected::to_bytes).map_err(broken)
}

/// Reads the error out of a bad answer.
async fn refusal(
    request: String,
    response: Response<Incoming>,
) -> Result<ClientError, ClientError> {
    let status = response.status();
    let bytes = whole(response).await?;
    Ok(match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => ClientError::Api(Box::new(body)),
        Err(source) => ClientError::Protocol {
            request,
            what: format!("status {status}"),
            source: Some(source),
        },
    })
}
