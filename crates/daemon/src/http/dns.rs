//! Routes about VMs' names.

use crate::problem::Problem;
use crate::resolved::{HostDnsError, Wanted};
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use banger_api::{DnsStatus, ErrorBody, HostDnsState};

/// How VMs' names are answered for, and who knows of it
#[utoipa::path(get, path = "/v1/dns", operation_id = "dns", responses((status = 200, description = "The status", body = DnsStatus)))]
pub(super) async fn show(State(state): State<AppState>) -> Json<DnsStatus> {
    Json(status(&state).await)
}

/// Have the host's resolver ask the daemon for VMs' names, now and from now on
#[utoipa::path(post, path = "/v1/dns/install", operation_id = "dns_install", responses(
    (status = 200, description = "The status", body = DnsStatus),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn install(State(state): State<AppState>) -> Result<Json<DnsStatus>, Problem> {
    let host = state.host_dns.switch(Wanted::Yes).await.map_err(problem)?;
    let dns = DnsStatus { host, ..state.dns.status() };
    let why = || dns.host.problem.clone().unwrap_or_default();
    match dns.host.state {
        HostDnsState::Absent => {
            let hint = dns.host.recipe.zip(dns.address).map(|(recipe, at)| recipe.hint(at));
            Err(problem(HostDnsError::Absent { problem: why(), hint }))
        }
        HostDnsState::Failed => Err(problem(HostDnsError::Failed { problem: why() })),
        _ => Ok(Json(dns)),
    }
}

/// Have the host's resolver ask the daemon for nothing, now and from now on
#[utoipa::path(post, path = "/v1/dns/uninstall", operation_id = "dns_uninstall", responses(
    (status = 200, description = "The status", body = DnsStatus),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn uninstall(State(state): State<AppState>) -> Result<Json<DnsStatus>, Problem> {
    let host = state.host_dns.switch(Wanted::No).await.map_err(problem)?;
    Ok(Json(DnsStatus { host, ..state.dns.status() }))
}

/// The whole status.
pub(super) async fn status(state: &AppState) -> DnsStatus {
    DnsStatus { host: state.host_dns.status().await, ..state.dns.status() }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn problem(error: HostDnsError) -> Problem {
    Problem::new(ErrorBody::of(&error))
}
