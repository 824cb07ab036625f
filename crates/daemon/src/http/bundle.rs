//! Routes about images and the runtime bundle.

use super::events;
use crate::problem::{self, Problem};
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use banger_api::{BundleStatus, ErrorBody, Event, ImageList};
use banger_core::image::Image;
use banger_engine::EngineError;

/// All images
#[utoipa::path(get, path = "/v1/images", operation_id = "list_images", responses(
    (status = 200, description = "The images", body = ImageList),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn images(State(state): State<AppState>) -> Result<Json<ImageList>, Problem> {
    let images = read_images(&state).await??;
    Ok(Json(ImageList { images: images.into_iter().map(view::image).collect() }))
}

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
    let (problem, image) = match read_images(state).await? {
        Ok(images) => (None, images.into_iter().next().map(view::image)),
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

/// Reads the images' descriptions, which are files.
async fn read_images(state: &AppState) -> Result<Result<Vec<Image>, EngineError>, Problem> {
    let engine = state.engine.clone();
    let read = tokio::task::spawn_blocking(move || engine.images()).await;
    read.map_err(|error| problem::internal(&error))
}
