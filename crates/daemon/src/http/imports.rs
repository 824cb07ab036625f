//! The route that imports images.

use super::doctor::check_import;
use super::events;
use super::extract::Body;
use crate::problem::Problem;
use crate::state::AppState;
use axum::extract::State;
use axum::response::Response;
use banger_api::{ErrorBody, Event, ImportImage};

/// Make an image of a directory, an archive or a container image
#[utoipa::path(post, path = "/v1/image-imports", operation_id = "import_image",
    request_body = ImportImage,
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn import(
    State(state): State<AppState>,
    Body(request): Body<ImportImage>,
) -> Result<Response, Problem> {
    let ImportImage { name, source, kernel, modules, size, max_size } = request;
    let request = banger_engine::ImportImage { name, source, kernel, modules, size, max_size };
    check_import(&state, &request).await?;
    Ok(events::answer(state.engine.import_image(request)).await)
}
