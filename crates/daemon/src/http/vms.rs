//! Routes about VMs.

use super::doctor::{check_change, check_create, check_start};
use super::events;
use super::extract::{Body, Queried, Reference};
use super::openapi::SpecChangeSchema;
use crate::problem::Problem;
use crate::state::AppState;
use crate::view;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use banger_api::{
    AddForward, CreateVm, ErrorBody, Event, KillVm, RemoveForward, RestartVm, SshConfig, SshTarget,
    StartVm, StopVm, Vm, VmList, VmStats, Wait,
};
use banger_core::forward::{Forward, ForwardChange, HostPort};
use banger_core::spec::SpecChange;
use banger_core::state::{Readiness, Request};
use banger_engine::{EngineError, NewVm, StartOptions};
use banger_host::Signal;
use std::time::Duration;

/// All VMs, sorted by name
#[utoipa::path(get, path = "/v1/vms", operation_id = "list_vms", responses((status = 200, description = "The VMs", body = VmList)))]
pub(super) async fn list(State(state): State<AppState>) -> Json<VmList> {
    Json(VmList { vms: state.engine.list().into_iter().map(view::vm).collect() })
}

/// Create a VM, and boot it unless `start` is absent
#[utoipa::path(post, path = "/v1/vms", operation_id = "create_vm", request_body = CreateVm, responses(
    (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn create(
    State(state): State<AppState>,
    Body(CreateVm { name, image, spec, start }): Body<CreateVm>,
) -> Result<Response, Problem> {
    if start.is_some() {
        check_create(&state, image.as_ref(), &spec).await?;
    }
    let start = start.map(start_options);
    Ok(events::answer(state.engine.create(NewVm { name, image, spec, start })).await)
}

/// One VM
#[utoipa::path(get, path = "/v1/vms/{ref}", operation_id = "show_vm",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "The VM", body = Vm),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Json<Vm>, Problem> {
    Ok(Json(view::vm(state.engine.view(&reference)?)))
}

/// Change what a VM is given, from its next start on
#[utoipa::path(patch, path = "/v1/vms/{ref}", operation_id = "set_vm", request_body = SpecChangeSchema,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn set(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(change): Body<SpecChange>,
) -> Result<Response, Problem> {
    let notes = check_change(&state, state.engine.view(&reference)?, &change).await?;
    Ok(events::answer_noting(notes, state.engine.set(&reference, change)?).await)
}

/// Delete a VM with its disks
#[utoipa::path(delete, path = "/v1/vms/{ref}", operation_id = "delete_vm",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Response, Problem> {
    Ok(events::answer(state.engine.delete(&reference)?).await)
}

/// Boot a VM
#[utoipa::path(post, path = "/v1/vms/{ref}/start", operation_id = "start_vm", request_body = StartVm,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn start(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(start): Body<StartVm>,
) -> Result<Response, Problem> {
    let notes = check_start(&state, state.engine.view(&reference)?, Request::Start).await?;
    let operation = state.engine.start(&reference, start_options(start))?;
    Ok(events::answer_noting(notes, operation).await)
}

/// Ask a VM's guest to end, and kill it when it does not
#[utoipa::path(post, path = "/v1/vms/{ref}/stop", operation_id = "stop_vm", request_body = StopVm,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn stop(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(stop): Body<StopVm>,
) -> Result<Response, Problem> {
    Ok(events::answer(state.engine.stop(&reference, seconds(stop.timeout_s))?).await)
}

/// Stop a VM, then boot it
#[utoipa::path(post, path = "/v1/vms/{ref}/restart", operation_id = "restart_vm", request_body = RestartVm,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn restart(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(RestartVm { stop, start }): Body<RestartVm>,
) -> Result<Response, Problem> {
    let notes = check_start(&state, state.engine.view(&reference)?, Request::Restart).await?;
    let (stop, start) = (seconds(stop.timeout_s), start_options(start));
    Ok(events::answer_noting(notes, state.engine.restart(&reference, stop, start)?).await)
}

/// Send a signal to a VM's VMM
#[utoipa::path(post, path = "/v1/vms/{ref}/kill", operation_id = "kill_vm", request_body = KillVm,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn kill(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(KillVm { signal }): Body<KillVm>,
) -> Result<Response, Problem> {
    let signal: Signal = signal.parse().map_err(EngineError::Signal)?;
    Ok(events::answer(state.engine.kill(&reference, signal)?).await)
}

/// Have a port of 127.0.0.1 on the host lead into a VM while it runs
#[utoipa::path(post, path = "/v1/vms/{ref}/forwards", operation_id = "add_forward", request_body = AddForward,
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn add_forward(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Body(AddForward { protocol, host_port, guest_port }): Body<AddForward>,
) -> Result<Response, Problem> {
    let forward = Forward { from: HostPort { protocol, host_port }, guest_port };
    Ok(events::answer(state.engine.forward(&reference, ForwardChange::Add(forward))?).await)
}

/// Have a port of the host lead nowhere
#[utoipa::path(delete, path = "/v1/vms/{ref}/forwards", operation_id = "remove_forward",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either"), RemoveForward),
    responses(
        (status = 200, description = "Events", body = Event, content_type = "application/x-ndjson"),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn remove_forward(
    State(state): State<AppState>,
    Reference(reference): Reference,
    Queried(RemoveForward { protocol, host_port }): Queried<RemoveForward>,
) -> Result<Response, Problem> {
    let change = ForwardChange::Remove(HostPort { protocol, host_port });
    Ok(events::answer(state.engine.forward(&reference, change)?).await)
}

/// What an ssh client needs to enter a VM
#[utoipa::path(get, path = "/v1/vms/{ref}/ssh", operation_id = "vm_ssh",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "Address, key and known hosts", body = SshTarget),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn ssh(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Json<SshTarget>, Problem> {
    Ok(Json(view::ssh(state.engine.ssh_access(&reference)?)))
}

/// What an ssh client is configured with so that `ssh <name>.vm` enters a VM
#[utoipa::path(get, path = "/v1/ssh-config", operation_id = "ssh_config", responses((status = 200, description = "Lines for ssh_config(5), and a file that has them", body = SshConfig)))]
pub(super) async fn ssh_config(State(state): State<AppState>) -> Json<SshConfig> {
    let banger_engine::SshConfig { file, text } = state.engine.ssh_config();
    Json(SshConfig { file, text })
}

/// What a VM uses; the answer takes half a second
#[utoipa::path(get, path = "/v1/vms/{ref}/stats", operation_id = "vm_stats",
    params(("ref" = String, Path, description = "A name or id, or a prefix of either")),
    responses(
        (status = 200, description = "The figures", body = VmStats),
        (status = "default", description = "An error", body = ErrorBody),
    ))]
pub(super) async fn stats(
    State(state): State<AppState>,
    Reference(reference): Reference,
) -> Result<Json<VmStats>, Problem> {
    Ok(Json(view::stats(state.engine.usage(&reference).await?)))
}

fn start_options(StartVm { wait, timeout_s }: StartVm) -> StartOptions {
    let wait = match wait {
        Wait::None => Readiness::Vmm,
        Wait::Guest => Readiness::Guest,
        Wait::Ssh => Readiness::Ssh,
    };
    StartOptions { wait, timeout: seconds(timeout_s) }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
