//! Routes about images.

use super::blocking::ask_engine;
use super::events;
use super::extract::{Body, Reference};
use crate::problem::Problem;
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use banger_api::{ErrorBody, Event, ImageList, ImageView, RegisterImage, RenameImage};
use banger_engine::{Engine, NewImage};

/// All images, sorted by name
#[utoipa::path(get, path = "/v1/images", operation_id = "list_images", responses(
    (status = 200, description = "The images", body = ImageList),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<ImageList>, Problem> {
    let images = ask_engine(&state, Engine::images).await?;
    Ok(Json(ImageList { images: images.into_iter().map(view::image).collect() }))
}

/// Make an image of files that stay where they are
#[utoipa::path(post, path = "/v1/images", operation_id = "register_image",
    request_body = RegisterImage,
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn register(
    State(state): State<AppState>,
    Body(request): Body<RegisterImage>,
) -> Response {
    let RegisterImage { name, rootfs, kernel, initrd, modules, boot_args } = request;
    let new = NewImage { name, kernel, initrd, modules, rootfs, boot_args };
    events::answer(state.engine.register_image(new)).await
}

/// One image
#[utoipa::path(get, path = "/v1/images/{ref}", operation_id = "show_image",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "The image", body = ImageView),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Json<ImageView>, Problem> {
    let found = ask_engine(&state, move |engine| engine.image(&reference)).await?;
    Ok(Json(view::image(found?)))
}

/// Give an image another name
#[utoipa::path(patch, path = "/v1/images/{ref}", operation_id = "rename_image",
    request_body = RenameImage,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "The image", body = ImageView),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn rename(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(RenameImage { name }): Body<RenameImage>,
) -> Result<Json<ImageView>, Problem> {
    let renamed = ask_engine(&state, move |engine| {
        engine.rename_image(&reference, name.clone())?;
        engine.image(name.as_str())
    });
    Ok(Json(view::image(renamed.await??)))
}

/// Copy an image's files into managed storage
#[utoipa::path(post, path = "/v1/images/{ref}/promote", operation_id = "promote_image",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn promote(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Response, Problem> {
    Ok(events::answer(state.engine.promote_image(&reference)?).await)
}

/// Delete an image that no VM uses
#[utoipa::path(delete, path = "/v1/images/{ref}", operation_id = "delete_image",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Response, Problem> {
    Ok(events::answer(state.engine.delete_image(&reference)?).await)
}
