//! Routes about the daemon itself.

use super::blocking::ask_engine;
use super::bundle;
use super::dns;
use super::extract::Body;
use crate::problem::Problem;
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use banger_api::{AuditReport, DaemonStatus, ErrorBody, LogLevelStatus, SetLogLevel, Version};
use banger_core::state::VmState;
use banger_engine::Engine;
use std::time::Duration;

/// The daemon's build
#[utoipa::path(get, path = "/v1/version", operation_id = "version", responses((status = 200, description = "The build", body = Version)))]
pub(super) async fn version(State(state): State<AppState>) -> Json<Version> {
    Json(state.about.version.clone())
}

/// The daemon, and why it works the way it does
#[utoipa::path(get, path = "/v1/daemon", operation_id = "daemon", responses((status = 200, description = "The status", body = DaemonStatus)))]
pub(super) async fn status(State(state): State<AppState>) -> Json<DaemonStatus> {
    let vms = state.engine.list();
    let running = vms.iter().filter(|view| view.vm.state == VmState::Running).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    // Why it cannot be used is a part of the answer; that it cannot be asked is none.
    let bundle = bundle::read_status(&state).await.ok();
    let about = (*state.about).clone();
    Json(DaemonStatus {
        version: about.version,
        pid: std::process::id(),
        instance: about.instance,
        socket: about.socket,
        state_dir: about.state_dir,
        runtime_dir: about.runtime_dir,
        log_file: about.log_file,
        vmm: about.vmm,
        overlay: about.overlay,
        bridge: about.bridge,
        vms: count(vms.len()),
        running: count(running),
        dns: dns::status(&state).await,
        metrics: state.metrics.status(),
        bundle,
        settings: about.settings,
        simulated: about.simulated,
    })
}

/// End the daemon; VMs go on running
#[utoipa::path(post, path = "/v1/daemon/stop", operation_id = "stop_daemon", responses(
    (status = 202, description = "It ends"),
))]
pub(super) async fn stop(State(state): State<AppState>) -> StatusCode {
    tracing::info!("asked to end");
    state.ending.cancel();
    StatusCode::ACCEPTED
}

/// The level of the log
#[utoipa::path(get, path = "/v1/daemon/log-level", operation_id = "log_level", responses((status = 200, description = "The level", body = LogLevelStatus)))]
pub(super) async fn log_level(State(state): State<AppState>) -> Json<LogLevelStatus> {
    Json(state.log.status())
}

/// Change the level of the log, for a while or until the daemon ends
#[utoipa::path(put, path = "/v1/daemon/log-level", operation_id = "set_log_level", request_body = SetLogLevel, responses(
    (status = 200, description = "The level that holds now", body = LogLevelStatus),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn set_log_level(
    State(state): State<AppState>,
    Body(SetLogLevel { level, for_s }): Body<SetLogLevel>,
) -> Json<LogLevelStatus> {
    state.log.set(level, for_s.map(|seconds| Duration::from_secs(seconds.into())));
    Json(state.log.status())
}

/// How the ledger and the host differ
#[utoipa::path(get, path = "/v1/audit", operation_id = "audit", responses(
    (status = 200, description = "The differences and the inventory", body = AuditReport),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn audit(State(state): State<AppState>) -> Result<Json<AuditReport>, Problem> {
    let (audit, inventory) = state.engine.audit().await?;
    let ledger = ask_engine(&state, Engine::ledger).await??;
    Ok(Json(view::audit(audit, &inventory, &ledger)))
}
