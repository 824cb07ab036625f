//! Serving requests on a socket until the daemon is to end.

use crate::http::{self, Peer};
use crate::state::AppState;
use std::future::{Future, IntoFuture};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::time::timeout;

/// How long requests that are under way may go on after the daemon was asked to end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the engine has to end what is still under way. A host verb cannot be broken off.
const ENGINE: Duration = Duration::from_secs(30);
/// How long clients have to read the end of an operation that the engine broke off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves requests until `shutdown` completes or a client asks the daemon to end.
///
/// Then nothing new is accepted, what is under way gets some seconds, and the engine ends. VMs go
/// on running.
pub async fn run(listener: UnixListener, state: AppState, shutdown: impl Future<Output = ()>) {
    let AppState { engine, ending, .. } = state.clone();
    let service = http::router(state).into_make_service_with_connect_info::<Peer>();
    let serve = axum::serve(listener, service);
    let serve = serve.with_graceful_shutdown(ending.clone().cancelled_owned());
    let mut serving = tokio::spawn(serve.into_future());
    tokio::select! {
        () = shutdown => {}
        () = ending.cancelled() => {}
    }
    tracing::info!("the daemon ends; VMs go on running");
    ending.cancel();
    let drained = timeout(DRAIN, &mut serving).await.is_ok();
    if timeout(ENGINE, engine.shutdown()).await.is_err() {
        tracing::warn!("the engine did not end in time; the next start resolves what is left");
    }
    if !drained && timeout(LAST_WORDS, &mut serving).await.is_err() {
        tracing::warn!("some requests were cut off");
        serving.abort();
    }
}
