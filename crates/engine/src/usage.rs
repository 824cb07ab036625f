//! Measuring what a VM uses.

use crate::error::EngineError;
use crate::executor::blocking;
use crate::shared::{Shared, now};
use crate::view::{Load, Usage, VmView};
use banger_core::error::fault;
use banger_core::resource::{Observed, Resource, ResourceKey, Role};
use banger_core::unit::Bytes;
use banger_core::vm::OverlayMethod;
use banger_host::facts::allocated_bytes;
use banger_host::{HostError, ProcessView};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Over how long processor time is measured.
const WINDOW: Duration = Duration::from_millis(500);

/// Measures; takes half a second if the VM runs.
pub(crate) async fn usage(shared: &Arc<Shared>, view: VmView) -> Result<Usage, EngineError> {
    let before = process_of(shared, &view).await?;
    let since = Instant::now();
    let after = match before {
        Some(_) => {
            tokio::time::sleep(WINDOW).await;
            process_of(shared, &view).await?
        }
        None => None,
    };
    let used = after.zip(before).map(|(after, before)| after.cpu.saturating_sub(before.cpu));
    let permille = used.unwrap_or_default().as_micros() * 1000 / since.elapsed().as_micros().max(1);
    let disks = view.clone();
    let (root, work) = blocking(move || (root(&disks), work(&disks))).await;
    let up = now().0.saturating_sub(view.vm.changed_at.0).unsigned_abs();
    Ok(Usage {
        cpu: after.map_or(Duration::ZERO, |process| process.cpu),
        cpu_permille: u32::try_from(permille).unwrap_or(u32::MAX),
        resident: after.map_or(Bytes(0), |process| process.resident),
        root,
        work,
        uptime: after.map_or(Duration::ZERO, |_| Duration::from_millis(up)),
        view,
    })
}

/// What a VM weighs at this moment. Reads files, and only those of this VM.
pub(crate) fn load(shared: &Shared, view: VmView) -> Load {
    let process = process(shared, &view).unwrap_or_else(|error| {
        tracing::debug!(vm_id = %view.vm.id, error = fault(&error), "the VMM cannot be looked at");
        None
    });
    Load { process, root: root(&view), work: work(&view), view }
}

/// Allocated blocks of the root disk's own layer.
fn root(view: &VmView) -> Bytes {
    let files = match view.vm.overlay {
        OverlayMethod::DmSnapshot => vec![&view.paths.root_cow, &view.paths.root_tail],
        OverlayMethod::Reflink | OverlayMethod::Copy => vec![&view.paths.root_clone],
    };
    let parts = files.into_iter().filter_map(|path| allocated_bytes(path).ok());
    Bytes(parts.map(|part| part.0).sum())
}

/// Allocated blocks of the work disk.
fn work(view: &VmView) -> Bytes {
    allocated_bytes(&view.paths.work_disk).unwrap_or_default()
}

async fn process_of(
    shared: &Arc<Shared>,
    view: &VmView,
) -> Result<Option<ProcessView>, EngineError> {
    let (shared, view) = (Arc::clone(shared), view.clone());
    Ok(blocking(move || process(&shared, &view)).await?)
}

fn process(shared: &Shared, view: &VmView) -> Result<Option<ProcessView>, HostError> {
    if !view.vm.state.may_have_vmm() {
        return Ok(None);
    }
    let key = ResourceKey::of_vm(&view.vm.id, Role::Vmm);
    let observed = Observed { key, object: String::new() };
    match observed.leftover(&shared.settings.layout) {
        Some(Resource::VmmProcess(vmm)) => shared.ports.processes.find(&vmm),
        _ => Ok(None),
    }
}
