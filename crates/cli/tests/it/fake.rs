//! A daemon that gives prepared answers over a real socket, and remembers what it was asked.

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, iter, once, pending};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::UnixListener;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// One document.
    Json(u16, Value),
    /// A stream of events that ends as it should.
    Events(Vec<Value>),
    /// A stream of events that breaks off.
    Broken(Vec<Value>),
    /// A stream of events that goes on without end after these.
    Open(Vec<Value>),
    /// A stream of events in parts; each comes once its request was made.
    Parts(Vec<(&'static str, Vec<Value>)>),
    /// Plain bytes.
    Bytes(&'static str),
}

/// One kind of request with its answer.
#[derive(Debug, Clone)]
struct Route {
    method: Method,
    path: &'static str,
    answer: Answer,
    /// Answers only once this path was asked for.
    after: Option<&'static str>,
}

/// Everything it was asked, as `METHOD path body`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A daemon in a directory of its own. It ends with the test.
#[derive(Debug)]
pub(crate) struct Fake {
    dir: TempDir,
    routes: Vec<Route>,
    asked: Asked,
    server: Option<tokio::runtime::Runtime>,
}

impl Fake {
    /// Nobody listens until [`Fake::serve`]. The build data are answered by default.
    pub(crate) fn new() -> Self {
        let fake = Self {
            dir: tempfile::tempdir().unwrap(),
            routes: Vec::new(),
            asked: Asked::default(),
            server: None,
        };
        fake.get("/v1/version", version(1))
    }

    pub(crate) fn on(self, method: Method, path: &'static str, answer: Answer) -> Self {
        self.route(Route { method, path, answer, after: None })
    }

    fn route(mut self, route: Route) -> Self {
        self.routes.insert(0, route);
        self
    }

    pub(crate) fn get(self, path: &'static str, document: Value) -> Self {
        self.on(Method::GET, path, Answer::Json(200, document))
    }

    /// The answer to a `GET` once something else was asked for.
    pub(crate) fn get_after(
        self,
        after: &'static str,
        path: &'static str,
        document: Value,
    ) -> Self {
        let answer = Answer::Json(200, document);
        self.route(Route { method: Method::GET, path, answer, after: Some(after) })
    }

    pub(crate) fn post(self, path: &'static str, events: Vec<Value>) -> Self {
        self.on(Method::POST, path, Answer::Events(events))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("bangerd.sock")
    }

    /// Begins to listen.
    pub(crate) fn serve(mut self) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = self.socket();
        let listener = runtime.block_on(async { UnixListener::bind(socket).unwrap() });
        runtime.spawn(listen(listener, self.routes.clone(), Arc::clone(&self.asked)));
        self.server = Some(runtime);
        self
    }

    /// Everything that was asked, the build data apart.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|request| !request.contains("/v1/version")).cloned().collect()
    }

    /// Waits until something was asked.
    pub(crate) fn wait_until_asked(&self, request: &str) {
        self.wait_until_asked_times(request, 1);
    }

    /// Waits until something was asked so many times.
    pub(crate) fn wait_until_asked_times(&self, request: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        let is_it = |asked: &&String| asked.starts_with(request);
        while self.asked().iter().filter(is_it).count() < times {
            assert!(Instant::now() < deadline, "nobody asked for {request}");
            std::thread::park_timeout(PERIOD);
        }
    }
}

async fn listen(listener: UnixListener, routes: Vec<Route>, asked: Asked) {
    let routes = Arc::new(routes);
    while let Ok((stream, _)) = listener.accept().await {
        let (routes, asked) = (Arc::clone(&routes), Arc::clone(&asked));
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &routes, &asked));
            let server = hyper::server::conn::http1::Builder::new();
            // A client may leave, and a broken stream is meant to end in an error.
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

type Frames = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Cut>>>;

/// The end of a broken stream.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

async fn answer(
    request: Request<Incoming>,
    routes: &[Route],
    asked: &Asked,
) -> Result<Response<Frames>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path_and_query().unwrap().as_str().to_owned();
    let body = String::from_utf8_lossy(&body);
    let line = format!("{} {path} {body}", head.method).trim_end().to_owned();
    let before = {
        let mut asked = asked.lock().unwrap();
        asked.push(line);
        asked.clone()
    };
    let fits = |route: &&Route| {
        route.method == head.method
            && route.path == path
            && route.after.is_none_or(|after| before.iter().any(|asked| asked.starts_with(after)))
    };
    let answer = match routes.iter().find(fits) {
        Some(route) => route.answer.clone(),
        None => Answer::Json(404, not_found(&path)),
    };
    Ok(render(answer, asked))
}

fn render(answer: Answer, asked: &Asked) -> Response<Frames> {
    let (status, pieces) = match answer {
        Answer::Json(status, document) => (status, whole(vec![document.to_string()])),
        Answer::Bytes(text) => (200, whole(vec![text.to_owned()])),
        Answer::Events(events) => (200, whole(lines(&events))),
        Answer::Open(events) => (200, whole(lines(&events)).chain(pending()).boxed()),
        Answer::Parts(parts) => {
            let asked = Arc::clone(asked);
            let in_turn = iter(parts).then(move |(request, events)| {
                let asked = Arc::clone(&asked);
                async move {
                    pause(&asked, request).await;
                    whole(lines(&events))
                }
            });
            (200, in_turn.flatten().boxed())
        }
        Answer::Broken(events) => (200, whole(lines(&events)).chain(once(cut())).boxed()),
    };
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).body(StreamBody::new(pieces)).unwrap()
}

/// Waits until something was asked for.
async fn pause(asked: &Asked, request: &str) {
    let is_asked = || asked.lock().unwrap().iter().any(|asked| asked.starts_with(request));
    while !is_asked() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What came before is sent while this waits.
async fn cut() -> Result<Frame<Bytes>, Cut> {
    tokio::task::yield_now().await;
    Err(Cut)
}

fn lines(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn whole(pieces: Vec<String>) -> BoxStream<'static, Result<Frame<Bytes>, Cut>> {
    iter(pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece))))).boxed()
}

/// Build data of a daemon that speaks this version of the API.
pub(crate) fn version(api: u32) -> Value {
    json!({ "version": "0.1.0", "api": api, "commit": "abc", "build": "1" })
}

/// The error of a reference that nothing answers to.
fn not_found(path: &str) -> Value {
    let name = path.trim_start_matches("/v1/vms/").split('/').next().unwrap();
    json!({
        "code": "vm_not_found",
        "message": format!("no VM is called `{name}`"),
        "hints": ["`banger vm list` shows all VMs"],
    })
}

/// A VM with its state and readiness.
pub(crate) fn vm(name: &str, state: &str, readiness: &str) -> Value {
    let id = if name == "otter" { "0f5k2m9q" } else { "1a2b3c4d" };
    json!({
        "id": id, "name": name, "image": "default", "state": state, "readiness": readiness,
        "ip": "172.16.0.2", "mac": "06:00:ac:10:00:02",
        "spec": { "vcpu": 2, "memory": 1024, "overlay": 8192, "work_disk": 8192, "nat": true },
        "overlay_method": "reflink", "vmm": "qemu", "pid": 4711, "last_error": null,
        "created_at": (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(75)).to_string(),
        "changed_at": "2024-05-02T10:00:00Z", "changed_by": "k3m9x2p7qa",
        "dir": "/state/vms/x", "console_log": "/state/vms/x/console.log",
        "vmm_log": "/state/vms/x/vmm.log",
    })
}

/// What ssh needs for a VM.
pub(crate) fn ssh_target(vm: Value) -> Value {
    json!({
        "vm": vm, "user": "root", "address": "172.16.0.2", "port": 22,
        "key": "/state/ssh/id", "known_hosts": "/state/ssh/known hosts",
        "host_key_alias": "banger-0f5k2m9q",
    })
}

pub(crate) fn accepted() -> Value {
    json!({ "event": "accepted", "op_id": "0123456789" })
}

pub(crate) fn begin(phase: &str) -> Value {
    json!({ "event": "begin", "phase": phase })
}

pub(crate) fn end(phase: &str, elapsed_ms: u64) -> Value {
    json!({ "event": "end", "phase": phase, "elapsed_ms": elapsed_ms })
}

pub(crate) fn note(message: &str) -> Value {
    json!({ "event": "note", "message": message })
}

/// The good end of an operation.
pub(crate) fn done(vm: Option<Value>) -> Value {
    let timings = json!([
        { "phase": "prepare the host", "elapsed_ms": 212 },
        { "phase": "wait for ssh", "elapsed_ms": 9300 },
    ]);
    json!({
        "event": "done",
        "outcome": { "op_id": "0123456789", "vm": vm, "changed": true, "timings": timings, "notes": [] },
    })
}

/// The good end of an operation that had nothing to do.
pub(crate) fn already(vm: Value) -> Value {
    json!({
        "event": "done",
        "outcome": { "op_id": "0123456789", "vm": vm, "changed": false, "timings": [], "notes": [] },
    })
}

/// The bad end of an operation.
pub(crate) fn failed(error: Value) -> Value {
    json!({ "event": "failed", "error": error })
}
