//! Whether the host is fit: the doctor's route, and the check before a start.

use super::blocking::blocking;
use super::extract::Queried;
use crate::doctor::{
    self, BundleFacts, Demand, Disks, Facts, Growth, ImageFacts, SCOPES, examine, look_at_source,
};
use crate::preflight::{self, Task};
use crate::problem::{self, Problem};
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use banger_api::{DoctorQuery, DoctorReport, ErrorBody, FixReport, Scope};
use banger_core::image::ImageOrigin;
use banger_core::resource::{Gatekeeper, Resource};
use banger_core::spec::SpecChange;
use banger_core::state::{Request, VmState};
use banger_core::unit::Bytes;
use banger_core::vm_name::ImageName;
use banger_engine::{ImportImage, VmView};
use banger_host::facts::Depth;
use banger_image::bundle::Bundle;
use std::path::PathBuf;

/// What is right and what is wrong with the host; the answer may take a second
#[utoipa::path(get, path = "/v1/doctor", operation_id = "doctor", params(DoctorQuery), responses(
    (status = 200, description = "The checks", body = DoctorReport),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn doctor(
    State(state): State<AppState>,
    Queried(DoctorQuery { scope }): Queried<DoctorQuery>,
) -> Result<Json<DoctorReport>, Problem> {
    let facts = blocking(move || {
        let demand = state.about.survey.usual();
        let facts = with_bundle(&state, state.about.survey.facts(demand, Depth::Whole));
        let facts = Facts { images: images(&state), ..facts };
        let wants_network = scope.is_none_or(|asked| asked == Scope::Network);
        if wants_network { with_network(&state, facts) } else { facts }
    })
    .await?;
    let scopes = SCOPES.into_iter().filter(|known| scope.is_none_or(|asked| asked == *known));
    let checks = scopes.flat_map(|scope| examine(&facts, scope)).collect();
    Ok(Json(DoctorReport { checks }))
}

/// Have what stands between VMs and the world let them through, as far as that can be undone
#[utoipa::path(post, path = "/v1/doctor/fix", operation_id = "fix", responses(
    (status = 200, description = "What was changed", body = FixReport),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn fix(State(state): State<AppState>) -> Result<Json<FixReport>, Problem> {
    let look = state.clone();
    let facts = blocking(move || {
        let demand = look.about.survey.usual();
        with_network(&look, look.about.survey.facts(demand, Depth::Quick))
    })
    .await?;
    let mut done = Vec::new();
    if doctor::is_forwarding_lost(&facts) {
        state.engine.refresh_network().await?;
        done.push("switched `net.ipv4.ip_forward` on".to_owned());
    }
    let permits = state.engine.permit(&doctor::permissions(&facts)).await?;
    done.extend(permits.iter().filter_map(put));
    Ok(Json(FixReport { done }))
}

/// Undo what was fixed: take every rule of banger's out of other firewalls
#[utoipa::path(post, path = "/v1/doctor/undo", operation_id = "undo", responses(
    (status = 200, description = "What was changed", body = FixReport),
    (status = "default", description = "An error", body = ErrorBody),
))]
pub(super) async fn undo(State(state): State<AppState>) -> Result<Json<FixReport>, Problem> {
    let gone = state.engine.withdraw().await?;
    Ok(Json(FixReport { done: gone.iter().filter_map(taken).collect() }))
}

/// What was put where, so that its reader finds it.
fn put(permit: &Resource) -> Option<String> {
    let Resource::Permit { gatekeeper, mark, bridge, dns } = permit else { return None };
    let program = gatekeeper.program();
    Some(match gatekeeper {
        Gatekeeper::Firewalld => format!(
            "put `{bridge}` into firewalld's zone `trusted`, until firewalld reloads; the next start \
             of a VM does so again"
        ),
        Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy => {
            let queries = if dns.is_some() { " and their DNS queries" } else { "" };
            format!(
                "put rules with the comment `{mark}` in front of those of {program}, for what VMs on \
                 `{bridge}` exchange with the world{queries}; `{program} -S` shows them"
            )
        }
    })
}

/// What was taken away again.
fn taken(permit: &Resource) -> Option<String> {
    let Resource::Permit { gatekeeper, mark, bridge, .. } = permit else { return None };
    Some(match gatekeeper {
        Gatekeeper::Firewalld => format!("took `{bridge}` out of firewalld's zone `trusted`"),
        Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy => {
            let program = gatekeeper.program();
            format!("took the rules with the comment `{mark}` out of {program}")
        }
    })
}

/// Refuses to make a VM that could not start.
pub(super) async fn check_create(
    state: &AppState,
    image: Option<&ImageName>,
    spec: &SpecChange,
) -> Result<(), Problem> {
    let (state, image, memory) = (state.clone(), image.cloned(), spec.memory);
    let facts = blocking(move || {
        let usual = state.about.survey.usual();
        let demand = Demand { memory: memory.unwrap_or(usual.memory), ..usual };
        let facts = state.about.survey.facts(demand, Depth::Quick);
        if state.engine.needs_bundle(image.as_ref()) { with_bundle(&state, facts) } else { facts }
    })
    .await?;
    preflight::check(&facts, &[Task::Start(None)]).map_err(|error| Problem::new(*error))?;
    Ok(())
}

/// Refuses the start of a VM that cannot start, before anything is put in place. Returns what is to be
/// said of it all the same.
pub(super) async fn check_start(
    state: &AppState,
    view: VmView,
    request: Request,
) -> Result<Vec<String>, Problem> {
    let vm = view.vm;
    let runs = vm.state == VmState::Running;
    // The start of one that runs has nothing to do, and nothing to need.
    if runs && request == Request::Start {
        return Ok(Vec::new());
    }
    let name = vm.name.to_string();
    let is_new = vm.state == VmState::Created;
    let to = vm.spec.work_disk.bytes();
    let demand = Demand {
        memory: vm.spec.memory,
        overlay: vm.overlay,
        disks: if is_new { Disks::New } else { Disks::Kept },
        image: state.engine.boots_from(&vm),
        growth: None,
    };
    let (state, disk) = (state.clone(), view.paths.work_disk);
    let facts = blocking(move || {
        // Where the disk is gone the start says so.
        let is = std::fs::metadata(&disk).map(|meta| Bytes(meta.len()));
        let growth = is.ok().filter(|from| *from < to).map(|from| Growth { from, to });
        // One that runs has all else that it needs, and gives its memory back before it starts again.
        let is_needed = !runs || growth.is_some();
        is_needed.then(|| state.about.survey.facts(Demand { growth, ..demand }, Depth::Quick))
    })
    .await?;
    let Some(facts) = facts else { return Ok(Vec::new()) };
    let start = (!runs).then_some(Task::Start(Some(&name)));
    let grow = facts.demand.growth.is_some().then_some(Task::Grow(&name));
    let tasks: Vec<Task<'_>> = start.into_iter().chain(grow).collect();
    preflight::check(&facts, &tasks).map_err(|error| Problem::new(*error))
}

/// Refuses a change of a VM that could not be carried out at its next start. Returns what is to be
/// said of it all the same.
pub(super) async fn check_change(
    state: &AppState,
    view: VmView,
    change: &SpecChange,
) -> Result<Vec<String>, Problem> {
    let from = view.vm.spec.work_disk;
    let Some(to) = change.work_disk.filter(|to| *to > from) else { return Ok(Vec::new()) };
    let growth = Some(Growth { from: from.bytes(), to: to.bytes() });
    let (state, name) = (state.clone(), view.vm.name.to_string());
    let facts = blocking(move || {
        let demand = Demand { growth, ..state.about.survey.usual() };
        state.about.survey.facts(demand, Depth::Quick)
    })
    .await?;
    preflight::check(&facts, &[Task::Grow(&name)]).map_err(|error| Problem::new(*error))
}

/// Refuses an import that could not succeed, before anything is read or written.
pub(super) async fn check_import(state: &AppState, request: &ImportImage) -> Result<(), Problem> {
    let paths = [
        ("source", Some(&request.source)),
        ("kernel", request.kernel.as_ref()),
        ("modules", request.modules.as_ref()),
    ];
    // The engine says of a relative path what is wrong with it.
    let paths: Vec<(&str, PathBuf)> = paths
        .into_iter()
        .filter_map(|(role, path)| Some((role, path.filter(|path| path.is_absolute())?.clone())))
        .collect();
    let (state, name) = (state.clone(), request.name.to_string());
    let facts = blocking(move || {
        let sources = paths.into_iter().map(|(role, path)| look_at_source(role, path)).collect();
        let demand = state.about.survey.usual();
        Facts { sources, ..state.about.survey.facts(demand, Depth::Quick) }
    })
    .await?;
    preflight::check(&facts, &[Task::Import(&name)]).map_err(|error| Problem::new(*error))?;
    Ok(())
}

fn with_bundle(state: &AppState, facts: Facts) -> Facts {
    let source = state.engine.bundle_source();
    let described = source.as_ref().and_then(|source| Bundle::read(source).ok());
    let bundle = BundleFacts {
        parts: described.map(|bundle| bundle.parts().to_vec()).unwrap_or_default(),
        image: state.engine.bundle_image().map_err(|error| problem::describe(&error)),
        dir: source.map_or_else(|| state.about.bundle_dir.clone(), |source| source.dir),
    };
    Facts { bundle: Some(bundle), ..facts }
}

fn with_network(state: &AppState, facts: Facts) -> Facts {
    let network = state.about.survey.network(state.engine.network_question());
    let has_nat = |view: &VmView| view.vm.state == VmState::Running && view.vm.spec.nat;
    let nat_guests = state.engine.list().iter().filter(|view| has_nat(view)).count();
    Facts { network: Some(network), nat_guests, ..facts }
}

/// The images beside the bundle's.
fn images(state: &AppState) -> Vec<ImageFacts> {
    let all = state.engine.images().into_iter();
    all.filter(|view| view.record.origin != ImageOrigin::Bundle)
        .map(|view| ImageFacts {
            name: view.record.name.to_string(),
            is: std::fs::metadata(&view.record.rootfs).ok().map(|meta| Bytes(meta.len())),
            was: view.record.size,
            problem: view.problem.as_ref().map(problem::describe),
            rootfs: view.record.rootfs,
        })
        .collect()
}
