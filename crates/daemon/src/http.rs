//! The HTTP surface: every route of `banger_api`'s table, with its OpenAPI document.
//!
//! A handler reads its request, asks the engine, and renders the answer; it decides nothing.

mod blocking;
mod bundle;
mod daemon;
mod dns;
mod doctor;
mod events;
mod extract;
mod guard;
mod image_builds;
mod images;
mod imports;
mod logs;
mod metrics;
mod openapi;
mod tail;
mod vms;

pub use guard::Peer;
pub use openapi::document;

use crate::metrics::Figures;
use crate::problem::Problem;
use crate::state::AppState;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest body that is read. The largest request, a `BuildImage` with many packages, has some
/// thousand bytes.
const BODY_LIMIT: usize = 64 << 10;

/// Every route, without what stands around them.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(daemon::version))
        .routes(routes!(daemon::status))
        .routes(routes!(daemon::stop))
        .routes(routes!(daemon::log_level, daemon::set_log_level))
        .routes(routes!(daemon::audit))
        .routes(routes!(doctor::doctor))
        .routes(routes!(doctor::fix))
        .routes(routes!(doctor::undo))
        .routes(routes!(dns::show))
        .routes(routes!(dns::install))
        .routes(routes!(dns::uninstall))
        .routes(routes!(vms::list, vms::create))
        .routes(routes!(vms::show, vms::set, vms::delete))
        .routes(routes!(vms::start))
        .routes(routes!(vms::stop))
        .routes(routes!(vms::restart))
        .routes(routes!(vms::kill))
        .routes(routes!(vms::add_forward, vms::remove_forward))
        .routes(routes!(vms::ssh))
        .routes(routes!(vms::ssh_config))
        .routes(routes!(vms::stats))
        .routes(routes!(logs::logs))
        .routes(routes!(logs::why))
        .routes(routes!(images::list, images::register))
        .routes(routes!(imports::import))
        .routes(routes!(images::show, images::rename, images::delete))
        .routes(routes!(images::promote))
        .routes(routes!(image_builds::build))
        .routes(routes!(image_builds::cancel))
        .routes(routes!(image_builds::save))
        .routes(routes!(bundle::status))
        .routes(routes!(bundle::build))
        .routes(routes!(bundle::verify))
        .routes(routes!(bundle::fetch))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::serve))
}

/// The service that answers every request.
pub fn router(state: AppState) -> Router {
    let (router, _) = api().split_for_parts();
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(guard::trace))
        .layer(middleware::from_fn(guard::check_peer))
        .with_state(state)
}

/// The service that answers those who are not asked who they are: with metrics, and nothing else.
pub(crate) fn metrics_alone(figures: Figures) -> Router {
    Router::new()
        .route("/metrics", get(metrics::alone))
        .layer(middleware::from_fn(guard::trace))
        .with_state(figures)
}

async fn unknown_route(request: Request) -> Problem {
    Problem::request(format!("there is no `{}`", request.uri().path()))
        .status(StatusCode::NOT_FOUND)
        .hint("`/openapi.json` describes every route")
}

async fn wrong_method(request: Request) -> Problem {
    Problem::request(format!("`{}` does not take {}", request.uri().path(), request.method()))
        .status(StatusCode::METHOD_NOT_ALLOWED)
        .hint("`/openapi.json` describes every route")
}
