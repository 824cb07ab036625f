//! Routes about the runtime bundle.

use super::events;
use crate::problem::{self, Problem};
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use banger_api::{BundleStatus, ErrorBody, Event};
use banger_core::image::Image;
use banger_engine::EngineError;

/// The runtime bundle, and why it cannot be used if it cannot
#[utoipa::path(get, path = "/v1/bundle", operation_id = "bundle", responses(
    (status = 200, description = "The bundle or its problem", body = BundleStatus),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn status(State(state): State<AppState>) -> Result<Json<BundleStatus>, Problem> {
    Ok(Json(read_status(&state).await?))
}

/// The bundle, and why it cannot be used if it cannot.
pub(super) async fn read_status(state: &AppState) -> Result<BundleStatus, Problem> {
    let dir = state.engine.bundle_dir().unwrap_or_else(|| state.about.bundle_dir.clone());
    let (problem, image) = match read_image(state).await? {
        Ok(image) => (None, Some(view::bundle_image(image))),
        Err(error) => (Some(problem::describe(&error)), None),
    };
    Ok(BundleStatus { dir, problem, image })
}

/// Build the runtime bundle from Debian packages
#[utoipa::path(post, path = "/v1/bundle/build", operation_id = "build_bundle", responses(
    (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn build(State(state): State<AppState>) -> Response {
    events::answer(state.engine.build_bundle()).await
}

/// Reads the image's description, which is in files.
async fn read_image(state: &AppState) -> Result<Result<Image, EngineError>, Problem> {
    let engine = state.engine.clone();
    let read = tokio::task::spawn_blocking(move || engine.bundle_image()).await;
    read.map_err(|error| problem::internal(&error))
}
