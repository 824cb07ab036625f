//! Measuring what a VM uses.

use crate::error::EngineError;
use crate::executor::blocking;
use crate::shared::{Shared, now};
use crate::view::{Usage, VmView};
use banger_core::resource::{Observed, Resource, ResourceKey, Role};
use banger_core::unit::Bytes;
use banger_core::vm::OverlayMethod;
use banger_host::ProcessView;
use banger_host::facts::allocated_bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Over how long processor time is measured.
const WINDOW: Duration = Duration::from_millis(500);

/// Measures; takes half a second if the VM runs.
pub(crate) async fn usage(shared: &Arc<Shared>, view: VmView) -> Result<Usage, EngineError> {
    let before = process(shared, &view).await?;
    let since = Instant::now();
    let after = match before {
        Some(_) => {
            tokio::time::sleep(WINDOW).await;
            process(shared, &view).await?
        }
        None => None,
    };
    let used = after.zip(before).map(|(after, before)| after.cpu.saturating_sub(before.cpu));
    let permille = used.unwrap_or_default().as_micros() * 1000 / since.elapsed().as_micros().max(1);
    let root = match view.vm.overlay {
        OverlayMethod::DmSnapshot => vec![&view.paths.root_cow, &view.paths.root_tail],
        OverlayMethod::Reflink | OverlayMethod::Copy => vec![&view.paths.root_clone],
    };
    let root = root.into_iter().filter_map(|path| allocated_bytes(path).ok());
    let up = now().0.saturating_sub(view.vm.changed_at.0).unsigned_abs();
    Ok(Usage {
        cpu: after.map_or(Duration::ZERO, |process| process.cpu),
        cpu_permille: u32::try_from(permille).unwrap_or(u32::MAX),
        resident: after.map_or(Bytes(0), |process| process.resident),
        root: Bytes(root.map(|part| part.0).sum()),
        work: allocated_bytes(&view.paths.work_disk).unwrap_or_default(),
        uptime: after.map_or(Duration::ZERO, |_| Duration::from_millis(up)),
        view,
    })
}

async fn process(shared: &Shared, view: &VmView) -> Result<Option<ProcessView>, EngineError> {
    let key = ResourceKey::of_vm(&view.vm.id, Role::Vmm);
    let observed = Observed { key, object: String::new() };
    let Some(Resource::VmmProcess(vmm)) = observed.leftover(&shared.settings.layout) else {
        return Ok(None);
    };
    let processes = Arc::clone(&shared.ports.processes);
    Ok(blocking(move || processes.find(&vmm)).await?)
}
