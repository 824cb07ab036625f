//! At start-up: resolving what an earlier daemon left half-done, taking up the VMs that run, and
//! making ledger and inventory agree.

use crate::console::Console;
use crate::error::EngineError;
use crate::executor::blocking;
use crate::images::inventory;
use crate::monitor::{Monitor, Subject};
use crate::operation::Reporter;
use crate::shared::{Shared, new_op, now};
use crate::task::{Adopted, VmTask, Work};
use crate::vmm_log::VmmLog;
use banger_core::error::{chain, fault};
use banger_core::id::{OpId, VmId};
use banger_core::ledger::Audit;
use banger_core::plan::{member, plan_delete, plan_leaked, plan_stop};
use banger_core::resource::{Member, Owner, Resource, ResourceKey, Role, VmmProcess};
use banger_core::state::VmState;
use banger_core::vm::Vm;
use banger_vmm::MachineStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a guest may take to end whose stop an earlier daemon had begun.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Resolves everything, then starts one task for each VM.
pub(crate) async fn reconcile(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let op = new_op();
    let vms = shared.store.load_vms()?;
    let present: BTreeSet<ResourceKey> =
        inventory(shared).await?.into_iter().map(|observed| observed.key).collect();
    let mut settled = Vec::new();
    for vm in vms {
        settled.extend(settle_or_mark(shared, &op, vm, &present).await?);
    }
    let members: BTreeMap<VmId, Member> = settled
        .iter()
        .filter(|settled| settled.running.is_some())
        .map(|Settled { vm, .. }| (vm.id.clone(), member(vm, &shared.settings.layout)))
        .collect();
    if let Err(error) = shared.network.adopt(&op, members).await {
        tracing::error!(op_id = %op, error = fault(&error), "no network");
    }
    shared.permits.adopt(&op).await?;
    remove_orphans(shared, &op, &settled).await?;
    remove_leaks(shared, &op).await?;
    for settled in settled {
        take_up(shared, &op, settled)?;
    }
    shared.publish_host_keys();
    Ok(())
}

/// A VM whose state no longer depends on an earlier daemon.
struct Settled {
    vm: Vm,
    /// Its VMM and that one's pid, if it runs.
    running: Option<(VmmProcess, u32)>,
    /// A stop had begun: it is to be gone on with.
    stopping: bool,
}

/// Settles one VM. What goes wrong with it is its own: the others are served all the same.
async fn settle_or_mark(
    shared: &Arc<Shared>,
    op: &OpId,
    mut vm: Vm,
    present: &BTreeSet<ResourceKey>,
) -> Result<Option<Settled>, EngineError> {
    match settle(shared, op, vm.clone(), present).await {
        Ok(settled) => Ok(settled),
        Err(error) => {
            tracing::error!(op_id = %op, vm_id = %vm.id, error = fault(&error), "not settled");
            change(shared, op, &mut vm, VmState::Error, Some(chain(&error)))?;
            Ok(Some(Settled { vm, running: None, stopping: false }))
        }
    }
}

/// Brings one VM into a state that holds; `None` if it was being deleted and now is.
async fn settle(
    shared: &Arc<Shared>,
    op: &OpId,
    mut vm: Vm,
    present: &BTreeSet<ResourceKey>,
) -> Result<Option<Settled>, EngineError> {
    let recorded = shared.store.recorded(&vm.id)?;
    // What made a temporary VM has ended with the daemon that it was in.
    if vm.deleting || vm.purpose.is_temporary() {
        return finish_delete(shared, op, vm, recorded).await;
    }
    let stopping = vm.state == VmState::Stopping;
    if let Some((process, pid)) = find_running(shared, &vm, &recorded).await? {
        tracing::info!(op_id = %op, vm_id = %vm.id, vm_name = %vm.name, pid, "taken up");
        change(shared, op, &mut vm, VmState::Running, None)?;
        return Ok(Some(Settled { vm, running: Some((process, pid)), stopping }));
    }
    if !vm.state.may_have_vmm() {
        return Ok(Some(Settled { vm, running: None, stopping: false }));
    }
    let why = match vm.state {
        VmState::Starting => Some("the daemon ended while the VM was starting".to_owned()),
        VmState::Running => Some("the VMM ended while no daemon was watching".to_owned()),
        _ => vm.last_error.clone(),
    };
    if vm.state == VmState::Starting {
        // The rows are written before the disks are made: those it did not come to were never.
        let never = |key: &ResourceKey| key.role().persists() && !present.contains(key);
        let keys: Vec<ResourceKey> = recorded.iter().map(Resource::key).filter(never).collect();
        shared.store.strike(&keys)?;
    }
    let left = shared.executor.tear_down(op, plan_stop(recorded)).await;
    match left.first() {
        None => change(shared, op, &mut vm, VmState::Stopped, why)?,
        Some(first) => {
            let why = format!("`{}` could not be removed: {}", first.object, chain(&first.error));
            change(shared, op, &mut vm, VmState::Error, Some(why))?;
        }
    }
    Ok(Some(Settled { vm, running: None, stopping: false }))
}

fn change(
    shared: &Shared,
    op: &OpId,
    vm: &mut Vm,
    state: VmState,
    why: Option<String>,
) -> Result<(), EngineError> {
    if vm.state != state {
        vm.changed_at = now();
        vm.changed_by = Some(op.clone());
    }
    vm.state = state;
    vm.last_error = why;
    shared.store.save_vm(vm)
}

async fn finish_delete(
    shared: &Arc<Shared>,
    op: &OpId,
    mut vm: Vm,
    recorded: Vec<Resource>,
) -> Result<Option<Settled>, EngineError> {
    let left = shared.executor.tear_down(op, plan_delete(recorded)).await;
    let Some(first) = left.first() else {
        tracing::info!(op_id = %op, vm_id = %vm.id, vm_name = %vm.name, "its delete is finished");
        shared.store.remove_vm(&vm.id)?;
        return Ok(None);
    };
    let why = format!("`{}` could not be removed: {}", first.object, chain(&first.error));
    change(shared, op, &mut vm, VmState::Error, Some(why))?;
    Ok(Some(Settled { vm, running: None, stopping: false }))
}

/// The VM's VMM, if it runs and its machine was told to boot.
async fn find_running(
    shared: &Arc<Shared>,
    vm: &Vm,
    recorded: &[Resource],
) -> Result<Option<(VmmProcess, u32)>, EngineError> {
    let process = recorded.iter().find_map(|resource| match resource {
        Resource::VmmProcess(process) => Some(process.clone()),
        _ => None,
    });
    let Some(process) = process.filter(|_| vm.state.may_have_vmm()) else { return Ok(None) };
    let (processes, asked) = (Arc::clone(&shared.ports.processes), process.clone());
    let Some(found) = blocking(move || processes.find(&asked)).await? else { return Ok(None) };
    let booted = match vm.state {
        VmState::Error => false,
        VmState::Running | VmState::Stopping => true,
        _ => {
            let driver = shared.ports.driver(vm.vmm);
            matches!(driver.status(&process.api_socket).await, Ok(MachineStatus::Running))
        }
    };
    Ok(booted.then_some((process, found.pid)))
}

/// Removes what the ledger has for VMs and images that do not exist. Nobody goes on with an image
/// that an earlier daemon was making.
async fn remove_orphans(
    shared: &Arc<Shared>,
    op: &OpId,
    settled: &[Settled],
) -> Result<(), EngineError> {
    let known: BTreeSet<&VmId> = settled.iter().map(|settled| &settled.vm.id).collect();
    let mut orphans = shared.store.ledger()?;
    orphans.retain(|resource| match resource.owner() {
        Owner::Instance => false,
        Owner::Vm(vm) => !known.contains(&vm),
        Owner::Image(image) => {
            // An image that was being promoted has none of its files there yet.
            let dir = shared.settings.layout.image(&image).dir;
            let record = shared.catalog.get(&image);
            resource.role() == Role::ImageDraft || !record.is_some_and(|it| it.is_in(&dir))
        }
    });
    for left in shared.executor.tear_down(op, plan_delete(orphans)).await {
        tracing::error!(op_id = %op, object = left.object, error = fault(&left.error), "still there");
    }
    Ok(())
}

/// Removes what is on the host and not in the ledger.
///
/// A leaked disk is reported and stays: it can only come from records that were lost, and it may be
/// all that is left of somebody's work.
async fn remove_leaks(shared: &Arc<Shared>, op: &OpId) -> Result<(), EngineError> {
    let ledger: Vec<ResourceKey> = shared.store.ledger()?.iter().map(Resource::key).collect();
    let audit = Audit::new(&ledger, &inventory(shared).await?);
    let (kept, leaked): (Vec<_>, Vec<_>) =
        audit.leaked.into_iter().partition(|observed| observed.key.role().persists());
    for observed in kept {
        tracing::warn!(op_id = %op, key = %observed.key, object = observed.object, "it is in no record, and kept");
    }
    let plan: Vec<Resource> =
        leaked.iter().filter_map(|observed| observed.leftover(&shared.settings.layout)).collect();
    for resource in &plan {
        tracing::warn!(op_id = %op, key = %resource.key(), object = resource.object(), "leaked");
    }
    for left in shared.executor.tear_down(op, plan_leaked(plan)).await {
        tracing::error!(op_id = %op, object = left.object, error = fault(&left.error), "still there");
    }
    Ok(())
}

/// Starts a VM's task, watching its VMM if it runs.
fn take_up(shared: &Arc<Shared>, op: &OpId, settled: Settled) -> Result<(), EngineError> {
    let Settled { vm, running, stopping } = settled;
    let adopted = match running {
        Some((process, pid)) => {
            let exited = shared.ports.processes.exited(&process)?;
            let subject = Subject {
                console: Console::open(&process.stdout),
                ip: vm.identity.ip,
                reach: Arc::clone(&shared.ports.reach),
                vmm_log: VmmLog::from_end(&process.stderr),
                vmm: process,
                processes: Arc::clone(&shared.ports.processes),
            };
            let span = tracing::info_span!(
                "watch", op_id = %op, vm_id = %vm.id, vm_name = %vm.name,
                image = %shared.catalog.name_of(&vm.image)
            );
            let monitor = span.in_scope(|| Monitor::start(subject, exited));
            Some(Adopted { monitor, pid, op: op.clone() })
        }
        None => None,
    };
    let id = vm.id.clone();
    let handle = VmTask::spawn(shared, vm, adopted);
    shared.vms().insert(id, handle.clone());
    if stopping {
        let report = Reporter::new(new_op(), shared.measures.clone()).0;
        let op = report.id.clone();
        shared.tasks.spawn(async move {
            if let Ok((_, Err(error))) =
                handle.ask(Work::Stop { timeout: STOP_LIMIT }, report).await
            {
                tracing::error!(op_id = %op, error = fault(&error), "the stop failed");
            }
        });
    }
    Ok(())
}
