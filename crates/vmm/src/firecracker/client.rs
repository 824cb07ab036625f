//! A client of Firecracker's API socket: HTTP/1.1 with JSON bodies over a Unix socket.

use super::api::{Call, Fault, InstanceInfo, Put};
use crate::error::excerpt;
use crate::patience::within;
use crate::socket;
use crate::{Patience, VmmError};
use banger_core::unit::elapsed_ms;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// Firecracker's longest answer, a machine's full configuration, is far below this.
const ANSWER_MAX: usize = 1 << 20;

/// What connecting is called in errors.
const CONNECT: &str = "connect";

/// A connection to one Firecracker. It makes one request at a time and drives the connection only
/// while it waits, so there is no task to look after.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    connection: Option<Connection<TokioIo<UnixStream>, Full<Bytes>>>,
    patience: Patience,
}

impl Client {
    /// Connects to the API socket.
    pub(super) async fn connect(socket: &Path, patience: Patience) -> Result<Self, VmmError> {
        let connected = async {
            let stream = TokioIo::new(socket::connect(socket).await?);
            http1::handshake(stream).await.map_err(|error| closed(CONNECT, Some(error.into())))
        };
        let (sender, connection) = within(patience.answer, CONNECT, connected).await?;
        Ok(Self { sender, connection: Some(connection), patience })
    }

    /// Sets something.
    pub(super) async fn put(&mut self, put: &impl Put) -> Result<(), VmmError> {
        self.call(&Call::put(put), self.patience.answer).await.map(drop)
    }

    /// Sets something that takes as long as starting the machine.
    pub(super) async fn put_patiently(&mut self, put: &impl Put) -> Result<(), VmmError> {
        self.call(&Call::put(put), self.patience.start).await.map(drop)
    }

    /// Asks how the machine is.
    pub(super) async fn instance_info(&mut self) -> Result<InstanceInfo, VmmError> {
        let call = Call::instance_info();
        let body = self.call(&call, self.patience.answer).await?;
        serde_json::from_slice(&body)
            .map_err(|error| VmmError::protocol(&call.name(), &body, Some(error.into())))
    }

    /// Makes a request and returns the body of its success.
    async fn call(&mut self, call: &Call, limit: Duration) -> Result<Bytes, VmmError> {
        let (name, since) = (call.name(), Instant::now());
        let outcome = within(limit, &name, self.exchange(&name, call)).await;
        let elapsed_ms = elapsed_ms(since.elapsed());
        let status = outcome.as_ref().map_or("none", |(status, _)| status.as_str());
        tracing::debug!(call = name, status, elapsed_ms, "call of the VMM's API");
        let (status, body) = outcome?;
        if status.is_success() { Ok(body) } else { Err(refused(name, status, &body)) }
    }

    async fn exchange(&mut self, name: &str, call: &Call) -> Result<(StatusCode, Bytes), VmmError> {
        let connection = self.connection.as_mut().ok_or_else(|| closed(name, None))?;
        let mut answer = pin!(ask(&mut self.sender, name, call));
        tokio::select! {
            biased;
            outcome = &mut answer => outcome,
            // The connection's end comes with the answer, or with the reason why there is none.
            _ended = connection => {
                self.connection = None;
                answer.await
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("open", &self.connection.is_some()).finish_non_exhaustive()
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    name: &str,
    call: &Call,
) -> Result<(StatusCode, Bytes), VmmError> {
    let request = request_of(call);
    let response = sender.send_request(request).await.map_err(|error| failure(name, error))?;
    read_answer(name, response).await
}

fn request_of(call: &Call) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        .header(HOST, "localhost")
        .header(ACCEPT, "application/json");
    if !call.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::copy_from_slice(&call.body));
    request.body(body).expect("paths are made of ids that are safe in a URI")
}

async fn read_answer(
    name: &str,
    response: Response<Incoming>,
) -> Result<(StatusCode, Bytes), VmmError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| closed(name, Some(error)))?;
    Ok((status, body.to_bytes()))
}

/// Firecracker explains a refusal in `fault_message`, in whole sentences.
fn refused(request: String, status: StatusCode, body: &[u8]) -> VmmError {
    let message = match serde_json::from_slice::<Fault>(body) {
        Ok(fault) => fault.fault_message.trim_end_matches('.').to_owned(),
        Err(_) => excerpt(body),
    };
    VmmError::Refused { request, status: status.as_str().to_owned(), message }
}

fn failure(name: &str, error: hyper::Error) -> VmmError {
    if error.is_parse() {
        let answer = "it is not HTTP".to_owned();
        VmmError::Protocol { request: name.to_owned(), answer, source: Some(error.into()) }
    } else {
        closed(name, Some(error.into()))
    }
}

fn closed(name: &str, source: Option<Box<dyn Error + Send + Sync>>) -> VmmError {
    VmmError::Closed { request: name.to_owned(), source }
}
