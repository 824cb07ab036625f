//! What stands around every route: who may ask, and a line in the log for each request.

use crate::problem::Problem;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use banger_api::ErrorBody;
use banger_core::error::ErrorCode;
use banger_core::unit::elapsed_ms;
use std::time::Instant;
use tokio::net::UnixListener;
use tracing::Instrument;

/// Who is at the other end of a connection, as the kernel says (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user; `None` if the kernel did not say.
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

impl Peer {
    /// Whether the peer may ask a daemon of user `own` for anything: it is the same user, or root.
    fn is_allowed(self, own: u32) -> bool {
        self.uid.is_some_and(|uid| uid == own || uid == 0)
    }
}

/// Refuses other users. The socket's directory keeps them out already; this holds when somebody
/// opened it.
pub(super) async fn check_peer(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0);
    let own = rustix::process::geteuid().as_raw();
    if peer.is_some_and(|peer| peer.is_allowed(own)) {
        return next.run(request).await;
    }
    tracing::warn!(?peer, "refused another user");
    let message = format!("this daemon serves user {own} only");
    let problem = Problem::new(ErrorBody::plain(ErrorCode::NotPermitted, message));
    problem.hint("start a daemon of your own").into_response()
}

/// Logs each request with its status, and puts what happens meanwhile under a span of its own.
pub(super) async fn trace(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", method = %request.method(), path);
    let start = Instant::now();
    async move {
        let response = next.run(request).await;
        let (status, elapsed_ms) = (response.status(), elapsed_ms(start.elapsed()));
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(status = status.as_u16(), elapsed_ms, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), elapsed_ms, "request answered");
        }
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    #[test]
    fn the_same_user_and_root_may_ask_and_nobody_else() {
        let may = |uid| Peer { uid }.is_allowed(1000);
        assert!(may(Some(1000)) && may(Some(0)));
        assert!(!may(Some(1001)) && !may(None));
    }

    #[tokio::test]
    async fn another_user_is_refused_before_any_route() {
        let app = Router::new()
            .route("/", get(async || "in"))
            .layer(axum::middleware::from_fn(check_peer));
        let ask = &|peer: Option<Peer>| {
            let mut request = Request::get("/").body(Body::empty()).unwrap();
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            app.clone().oneshot(request)
        };
        let own = rustix::process::geteuid().as_raw();
        let status = |peer| async move { ask(peer).await.unwrap().status() };
        assert_eq!(status(Some(Peer { uid: Some(own) })).await, StatusCode::OK);
        assert_eq!(status(Some(Peer { uid: Some(own + 1) })).await, StatusCode::FORBIDDEN);
        assert_eq!(status(None).await, StatusCode::FORBIDDEN);
    }
}
