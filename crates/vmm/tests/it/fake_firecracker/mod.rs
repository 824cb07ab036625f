//! A Firecracker of words only: it checks every request against [`table`] as the real one would,
//! remembers it, and can be told to misbehave at one of them.

pub(crate) mod table;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use table::Phase;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// What the fake does at the request that was singled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It refuses, in these words.
    Refuse(&'static str),
    /// It refuses without a `fault_message`.
    RefuseInAnotherTongue,
    /// It takes the request and never answers.
    Hang,
    /// It hangs up, and nobody listens any more: the process has died.
    Die,
    /// It answers with a body that is no JSON.
    Garble,
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) body: Value,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    seen: Vec<Seen>,
    fault: Option<(&'static str, Fault)>,
    has_boot_source: bool,
}

/// A listening fake. It ends with the value.
#[derive(Debug)]
pub(crate) struct FakeFirecracker {
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
    dir: tempfile::TempDir,
}

impl FakeFirecracker {
    /// A fake that obeys.
    pub(crate) fn start() -> Self {
        Self::start_faulty(None)
    }

    /// A fake that misbehaves at the request of this name, such as `PUT /drives/root`.
    pub(crate) fn start_with(request: &'static str, fault: Fault) -> Self {
        Self::start_faulty(Some((request, fault)))
    }

    fn start_faulty(fault: Option<(&'static str, Fault)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let phase = Phase::BeforeStart;
        let state = State { phase, seen: Vec::new(), fault, has_boot_source: false };
        let state = Arc::new(Mutex::new(state));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, dir.path().join("api.sock"), Arc::clone(&state)));
        Self { state, _server: server, dir }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// The names of the requests so far.
    pub(crate) fn names(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.name).collect()
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection after the other until a fault ends it.
async fn serve(listener: UnixListener, socket: PathBuf, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service_fn(|request| answer(request, &state));
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        if served.is_err() && lock(&state).fault.is_some_and(|(_, fault)| fault == Fault::Die) {
            return bury(&socket);
        }
    }
}

/// Takes the socket away, as the host does after a VMM's death.
fn bury(socket: &Path) {
    std::fs::remove_file(socket).unwrap();
}

async fn answer(
    request: Request<Incoming>,
    state: &Mutex<State>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let name = format!("{method} {path}");
    let fault = {
        let mut state = lock(state);
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        state.seen.push(Seen { name: name.clone(), body: value });
        state.fault.filter(|(at, _)| *at == name).map(|(_, fault)| fault)
    };
    match fault {
        None => {}
        Some(Fault::Refuse(message)) => return Ok(refuse(message)),
        Some(Fault::RefuseInAnotherTongue) => {
            return Ok(respond(StatusCode::INTERNAL_SERVER_ERROR, "<h1>Non!</h1>".into()));
        }
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Die) => return Err(io::Error::other("died")),
        Some(Fault::Garble) => return Ok(respond(StatusCode::OK, "\u{7}not json".into())),
    }
    Ok(obey(&method, &path, &body, &mut lock(state)))
}

fn obey(method: &str, path: &str, body: &[u8], state: &mut State) -> Response<Full<Bytes>> {
    if let Err(message) = table::check(method, path, body, state.phase) {
        return refuse(&message);
    }
    match (method, path) {
        ("GET", "/") => respond(StatusCode::OK, instance_info(state.phase).to_string()),
        ("GET", _) => respond(StatusCode::OK, "{}".to_owned()),
        ("PUT", "/actions") if state.phase == Phase::BeforeStart => {
            if !state.has_boot_source {
                return refuse("Cannot start microvm without kernel configuration.");
            }
            state.phase = Phase::AfterStart;
            respond(StatusCode::NO_CONTENT, String::new())
        }
        _ => {
            state.has_boot_source |= path == "/boot-source";
            respond(StatusCode::NO_CONTENT, String::new())
        }
    }
}

fn instance_info(phase: Phase) -> Value {
    let state = if phase == Phase::AfterStart { "Running" } else { "Not started" };
    json!({ "app_name": "Firecracker", "id": "fake", "state": state, "vmm_version": "1.12.1" })
}

fn refuse(message: &str) -> Response<Full<Bytes>> {
    respond(StatusCode::BAD_REQUEST, json!({ "fault_message": message }).to_string())
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
