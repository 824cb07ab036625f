//! The routes that stream a VM's logs, and tell what is in them.

use super::blocking::blocking;
use super::extract::{Queried, Reference};
use super::tail::{Read, Tail};
use crate::problem::Problem;
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use banger_api::{ErrorBody, LogQuery, LogSource, Why};
use banger_core::names::log_before;
use futures_util::stream;
use std::io;
use std::time::Duration;

/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What a VM's guest wrote to its console, or its VMM about itself
#[utoipa::path(get, path = "/v1/vms/{ref}/logs", operation_id = "vm_logs",
    params(
        ("ref" = String, Path, description = "A name or id, or a prefix of either"),
        LogQuery,
    ),
    responses(
        (status = 200, description = "The text as it is in the file, with a line for what was cut out", body = String,
            content_type = "text/plain"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn logs(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Queried(query): Queried<LogQuery>,
) -> Result<Response, Problem> {
    let view = state.engine.view(&reference)?;
    let path = match query.source {
        LogSource::Console => view.paths.console_log,
        LogSource::Vmm => view.paths.vmm_log,
    };
    let path = if query.previous { log_before(&path) } else { path };
    let tail = blocking(move || Tail::open(path, query.tail)).await?;
    let tail = tail.map_err(|source| Problem::from(file_error(source)))?;
    let follow = query.follow.then(|| Follow { state, vm: view.vm.id.to_string() });
    let body = Body::from_stream(stream::try_unfold((tail, follow, More::Yes), next));
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// Why a VM is as it is, also one whose creation failed
#[utoipa::path(get, path = "/v1/vms/{ref}/why", operation_id = "vm_why",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either; the whole name or id where nothing is left of the VM")),
    responses(
        (status = 200, description = "What is known", body = Why),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn why(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Json<Why>, Problem> {
    Ok(Json(view::why(state.engine.why(&reference).await?)))
}

fn file_error((path, source): (std::path::PathBuf, io::Error)) -> banger_engine::EngineError {
    banger_engine::EngineError::File { action: "read", path, source }
}

/// Whom to ask whether there is more to come.
struct Follow {
    state: AppState,
    vm: String,
}

/// Whether more can be written to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

type Reading = (Tail, Option<Follow>, More);

/// The next piece of the file; waits for one while the file is followed.
async fn next((mut tail, follow, mut more): Reading) -> io::Result<Option<(Bytes, Reading)>> {
    loop {
        let (back, read) = tokio::task::spawn_blocking(move || {
            let read = tail.read();
            (tail, read)
        })
        .await
        .map_err(io::Error::other)?;
        tail = back;
        if let Read::Piece(bytes) = read? {
            return Ok(Some((bytes, (tail, follow, more))));
        }
        match &follow {
            Some(follow) if more == More::Yes => {
                // What is written before the VM is gone is read once more after it.
                more = follow.wait().await;
                tail.look_again();
            }
            _ => return Ok(None),
        }
    }
}

impl Follow {
    /// Waits until it is time to look again.
    async fn wait(&self) -> More {
        tokio::select! {
            () = self.state.ending.cancelled() => return More::No,
            () = tokio::time::sleep(LOOK) => {}
        }
        if self.state.engine.view(&self.vm).is_ok() { More::Yes } else { More::No }
    }
}
