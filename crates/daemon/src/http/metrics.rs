//! The route that Prometheus asks.

use crate::metrics::Figures;
use crate::state::AppState;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::prometheus_text;

/// The daemon's metrics, in Prometheus's text format
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", responses(
    (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    answer(state.metrics.text().await)
}

/// The same where there is nothing else.
pub(super) async fn alone(State(figures): State<Figures>) -> Response {
    answer(figures.text().await)
}

fn answer(text: String) -> Response {
    ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response()
}
