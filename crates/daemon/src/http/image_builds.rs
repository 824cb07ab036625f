//! Routes about images that are being built.

use super::doctor::check_create;
use super::events;
use super::extract::Body;
use crate::problem::Problem;
use crate::state::AppState;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use banger_api::{BuildImage, CopyIntoImage, ErrorBody, Event};
use banger_core::id::OpId;
use banger_core::spec::SpecChange;
use banger_engine::{BuildCopy, BuildImage as Request};
use banger_provision::PackageName;

/// Build an image by booting one and working in it
#[utoipa::path(post, path = "/v1/image-builds", operation_id = "build_image",
    request_body = BuildImage,
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn build(
    State(state): State<AppState>,
    Body(request): Body<BuildImage>,
) -> Result<Response, Problem> {
    let request = read(request)?;
    check_create(&state, request.from.as_ref(), &request.spec).await?;
    Ok(events::answer(state.engine.build_image(request)).await)
}

/// Cancel the build of an image; it is over when its events end
#[utoipa::path(delete, path = "/v1/image-builds/{op}", operation_id = "cancel_image_build",
    params(("op" = String, Path, description = "The operation's id")),
    responses(
        (status = 202, description = "It ends"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Path(op): Path<String>,
) -> Result<StatusCode, Problem> {
    let op: OpId = op.parse().map_err(|error| Problem::request(format!("{error}")))?;
    state.engine.cancel(&op)?;
    Ok(StatusCode::ACCEPTED)
}

/// Tell a build that what was to be done by hand is done
#[utoipa::path(post, path = "/v1/image-builds/{op}/save", operation_id = "save_image_build",
    params(("op" = String, Path, description = "The operation's id")),
    responses(
        (status = 202, description = "It goes on"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn save(
    State(state): State<AppState>,
    Path(op): Path<String>,
) -> Result<StatusCode, Problem> {
    let op: OpId = op.parse().map_err(|error| Problem::request(format!("{error}")))?;
    state.engine.save(&op)?;
    Ok(StatusCode::ACCEPTED)
}

fn read(request: BuildImage) -> Result<Request, Problem> {
    let packages = request.packages.iter().map(|name| name.parse::<PackageName>());
    let packages = packages.collect::<Result<_, _>>();
    let packages = packages.map_err(|error| Problem::request(error.to_string()))?;
    let copies = request.copies.into_iter();
    Ok(Request {
        name: request.name,
        from: request.from,
        package_file: request.package_file,
        packages,
        size: request.size,
        modules: request.modules,
        kernel: request.kernel,
        initrd: request.initrd,
        scripts: request.scripts,
        copies: copies.map(|CopyIntoImage { from, to }| BuildCopy { from, to }).collect(),
        spec: SpecChange {
            vcpu: request.vcpu,
            memory: request.memory,
            nat: request.nat,
            ..SpecChange::default()
        },
        by_hand: request.by_hand,
        keep_on_failure: request.keep_on_failure,
    })
}
