//! Making a VM: its record and identity first, then its first boot.

use crate::engine::{Answer, Gone, NewVm, name_in_log};
use crate::error::{EngineError, ImageError};
use crate::images::{self, Need};
use crate::keys::host_key;
use crate::operation::{Finished, Reporter};
use crate::postmortem;
use crate::ready::wait_ready;
use crate::shared::{Shared, entropy, now};
use crate::store::Insert;
use crate::task::{VmHandle, VmTask, Work};
use banger_core::error::{chain, fault};
use banger_core::id::{OpId, VmId};
use banger_core::image::BootFiles;
use banger_core::net::{GuestIp, MacAddr};
use banger_core::state::VmState;
use banger_core::vm::{Identity, OverlayMethod, Purpose, Vm};
use banger_core::vm_name::VmName;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often a generated name or id may meet an existing one before the last try is an error.
const TRIES: usize = 64;

/// Makes the VM and, if it says so, boots it.
pub(crate) async fn create(shared: Arc<Shared>, new: NewVm, report: Reporter) -> Answer {
    let handle = match register(&shared, &report.id, &new, Purpose::Work, None) {
        Ok(handle) => handle,
        Err(error) => return Ok((report, Err(error))),
    };
    let Some(options) = new.start else {
        let vm = Some(handle.view());
        return Ok((report, Ok(Finished { vm, changed: true })));
    };
    let (mut report, started) = handle.ask(Work::Start, report).await?;
    let result = match started {
        Ok(_) => wait_ready(&handle, options, true, &mut report).await,
        Err(error) => Err(error),
    };
    let result = match result {
        Err(error) if leaves_nothing(&error) => {
            Err(discard(&shared, &handle, error, &mut report).await)
        }
        other => other,
    };
    Ok((report, result))
}

/// Whether the failure means that there is no VM to keep. A VM that only takes long is left alone,
/// and one that another request stopped is that request's.
fn leaves_nothing(error: &EngineError) -> bool {
    !matches!(error, EngineError::NotReady { .. } | EngineError::Interrupted { .. })
}

/// Removes the VM whose creation failed; its raw output is kept apart.
pub(crate) async fn discard(
    shared: &Shared,
    handle: &VmHandle,
    mut error: EngineError,
    report: &mut Reporter,
) -> EngineError {
    postmortem::keep(&shared.settings.layout, &handle.view(), &mut error);
    remove(shared, handle, report).await;
    error
}

/// Removes a VM that was not to be.
pub(crate) async fn remove(shared: &Shared, handle: &VmHandle, report: &mut Reporter) {
    let unheard = Reporter::new(report.id.clone(), shared.measures.clone()).0;
    match handle.ask(Work::Delete, unheard).await {
        Ok((_, Ok(_))) => {}
        Ok((undo, Err(why))) => {
            tracing::error!(error = fault(&why), "the undo of a create failed");
            report.note(format!("the undo is not complete: {}", chain(&why)));
            report.leave_behind(undo.into_left());
        }
        Err(Gone) => tracing::debug!("another request has deleted the VM already"),
    }
}

/// Gives the VM its identity, its record and its task.
pub(crate) fn register(
    shared: &Arc<Shared>,
    op: &OpId,
    new: &NewVm,
    purpose: Purpose,
    own_kernel: Option<BootFiles>,
) -> Result<VmHandle, EngineError> {
    let spec = new.spec.over_defaults(&shared.settings.defaults)?;
    let image = match &new.image {
        Some(name) => shared.catalog.called(name)?,
        None => images::sync_default(shared)?,
    };
    images::check(shared, &image, Need::All)?;
    // Under the lock no other VM can take the name or the address, and the image stays.
    let mut vms = shared.vms();
    if shared.catalog.get(&image.id).is_none() {
        return Err(ImageError::Unknown { name: image.name }.into());
    }
    let taken: Vec<Vm> = vms.values().map(|handle| handle.view().vm).collect();
    let name = choose_name(new.name.as_ref(), &taken)?;
    let id = choose_id(&taken)?;
    let ip = allocate(shared, &taken)?;
    let created_at = now();
    let vm = Vm {
        image: image.id,
        spec,
        identity: Identity {
            ip,
            mac: MacAddr::for_ip(ip),
            machine_id: format!("{:016x}{:016x}", entropy()?, entropy()?),
            host_key: host_key(name.as_str())?,
        },
        purpose,
        own_kernel,
        overlay: overlay(shared.settings.overlay, purpose),
        state: VmState::Created,
        vmm: None,
        last_error: None,
        deleting: false,
        forwards: BTreeSet::new(),
        created_at,
        changed_at: created_at,
        changed_by: Some(op.clone()),
        id,
        name,
    };
    if let Insert::Conflict = shared.store.insert_vm(&vm)? {
        return Err(EngineError::NameTaken { name: vm.name });
    }
    let (id, ip) = (vm.id.clone(), vm.identity.ip);
    shared.builds.give(op, &id);
    let handle = VmTask::spawn(shared, vm, None);
    name_in_log(&handle.view());
    tracing::info!(%ip, "created");
    vms.insert(id, handle.clone());
    drop(vms);
    shared.publish_host_keys();
    Ok(handle)
}

/// What an image is made of has to be one file.
fn overlay(usual: OverlayMethod, purpose: Purpose) -> OverlayMethod {
    match (purpose, usual) {
        (Purpose::Work, _) | (_, OverlayMethod::Reflink) => usual,
        (Purpose::Build | Purpose::KeptBuild, _) => OverlayMethod::Copy,
    }
}

fn choose_name(wanted: Option<&VmName>, taken: &[Vm]) -> Result<VmName, EngineError> {
    let names: BTreeSet<&VmName> = taken.iter().map(|vm| &vm.name).collect();
    let mut name = match wanted {
        Some(name) => name.clone(),
        None => VmName::generate(entropy()?),
    };
    let mut tries = 1;
    while names.contains(&name) {
        if wanted.is_some() || tries == TRIES {
            return Err(EngineError::NameTaken { name });
        }
        // With many VMs two words run out; a number goes on where they end.
        name = if tries < TRIES / 2 {
            VmName::generate(entropy()?)
        } else {
            let numbered = format!("{}-{}", VmName::generate(entropy()?), entropy()? % 100_000);
            numbered.parse().expect("two words and a number are a name")
        };
        tries += 1;
    }
    Ok(name)
}

fn choose_id(taken: &[Vm]) -> Result<VmId, EngineError> {
    loop {
        let id = VmId::from_entropy(entropy()?);
        if taken.iter().all(|vm| vm.id != id) {
            return Ok(id);
        }
    }
}

fn allocate(shared: &Shared, taken: &[Vm]) -> Result<GuestIp, EngineError> {
    let ips: BTreeSet<GuestIp> = taken.iter().map(|vm| vm.identity.ip).collect();
    let subnet = shared.settings.bridge.subnet;
    subnet.allocate(|ip| ips.contains(&ip)).ok_or_else(|| EngineError::SubnetExhausted {
        subnet: subnet.to_string(),
        count: subnet.guests(),
    })
}
