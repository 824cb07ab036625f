//! Routes about the runtime bundle.

use super::blocking::{ask_engine, blocking};
use super::events;
use super::extract::Body;
use crate::problem::{self, Problem};
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use banger_api::{BundleContent, BundleStatus, ErrorBody, Event, FetchBundle};
use banger_engine::{Engine, FetchFrom};
use banger_image::bundle::{Bundle, ChecksumError, PlaceError};

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
    let source = state.engine.bundle_source();
    let dir = source.map_or_else(|| state.about.bundle_dir.clone(), |source| source.dir);
    let (problem, image) = match ask_engine(state, Engine::bundle_image).await? {
        Ok(image) => (None, Some(view::bundle_image(image))),
        Err(error) => (Some(problem::describe(&error)), None),
    };
    let content = read_content(state).await?;
    Ok(BundleStatus { dir, problem, image, content })
}

/// Build the runtime bundle from Debian packages
#[utoipa::path(post, path = "/v1/bundle/build", operation_id = "build_bundle", responses(
    (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn build(State(state): State<AppState>) -> Response {
    events::answer(state.engine.build_bundle()).await
}

/// Read all of the runtime bundle: each file against its checksum, and whether each can do its work
#[utoipa::path(post, path = "/v1/bundle/verify", operation_id = "verify_bundle", responses(
    (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn verify(State(state): State<AppState>) -> Response {
    events::answer(state.engine.verify_bundle()).await
}

/// Unpack the runtime bundle from an archive
#[utoipa::path(post, path = "/v1/bundle/fetch", operation_id = "fetch_bundle", request_body = FetchBundle, responses(
    (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn fetch(
    State(state): State<AppState>,
    Body(request): Body<FetchBundle>,
) -> Result<Response, Problem> {
    let FetchBundle { from, sha256, pin } = request;
    let from = match (from, pin) {
        (Some(from), None) => {
            let refused = |error: &dyn std::error::Error| Problem::request(error.to_string());
            let place = from.parse().map_err(|error| refused(&error as &PlaceError))?;
            let sha256 = sha256.map(|sum| sum.parse()).transpose();
            let sha256 = sha256.map_err(|error| refused(&error as &ChecksumError))?;
            FetchFrom::Archive { place, sha256 }
        }
        (None, pin) if sha256.is_none() => {
            FetchFrom::Pin(pin.unwrap_or_else(|| state.about.pin_file.clone()))
        }
        _ => {
            let message = "a fetch is of `from`, with its `sha256`, or of what `pin` names";
            return Err(Problem::request(message));
        }
    };
    Ok(events::answer(state.engine.fetch_bundle(from)).await)
}

/// What the bundle's description says, as far as it can be read.
async fn read_content(state: &AppState) -> Result<Option<BundleContent>, Problem> {
    let Some(source) = state.engine.bundle_source() else { return Ok(None) };
    blocking(move || Bundle::read(&source).ok().map(|bundle| view::bundle::content(&bundle))).await
}
