//! Images: the default one follows the runtime bundle, others are where users have them.
//!
//! Files are looked at when they are needed. One that is missing never keeps the daemon from starting.

use crate::build::staleness;
use crate::error::{EngineError, ImageError};
use crate::executor::blocking;
use crate::operation::{Finished, Reporter};
use crate::settings::Images;
use crate::shared::{Shared, now};
use crate::task::VmHandle;
use crate::view::ImageView;
use crate::{draft, import};
use banger_core::error::fault;
use banger_core::id::{ImageId, VmId};
use banger_core::image::{BootFiles, Image, ImageKind, ImageOrigin, ImageRecord};
use banger_core::resource::{Observed, Role};
use banger_core::unit::Bytes;
use banger_core::vm::{OverlayMethod, Vm};
use banger_core::vm_name::{ImageName, VmName};
use banger_image::artifact::{ArtifactError, check_boot_files, check_rootfs};
use banger_image::bundle::Bundle;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes the default image's record follow the bundle, and returns it. A bundle that cannot be used
/// is an error, unless the image's files are banger's own: those do not follow.
pub(crate) fn sync_default(shared: &Shared) -> Result<ImageRecord, EngineError> {
    if let Some(own) = shared.catalog.default().filter(|own| own.kind == ImageKind::Managed) {
        return Ok(own);
    }
    let image = bundle_image(shared)?;
    if let Some(own) = shared.catalog.default()
        && is_needed(shared, &own, &image)?
    {
        shared.catalog.part_from_bundle(&own.id)?;
    }
    let size = measure(shared, &image.rootfs);
    let id = shared.catalog.new_id()?;
    shared.catalog.update_default(|record| {
        let mut record = record.unwrap_or_else(|| ImageRecord {
            id,
            name: image.name.clone(),
            kind: ImageKind::Unmanaged,
            origin: ImageOrigin::Bundle,
            boot: None,
            rootfs: PathBuf::new(),
            boot_args: Vec::new(),
            size: None,
            digest: None,
            created_at: now(),
        });
        if record.follow(image, size) {
            tracing::info!(image = %record.name, rootfs = %record.rootfs.display(), "follows the bundle");
        }
        Ok(record)
    })
}

/// Whether VMs are layered over a root file system that is still there and is another than the
/// bundle's: their disks are worth nothing over that one.
fn is_needed(shared: &Shared, own: &ImageRecord, image: &Image) -> Result<bool, EngineError> {
    if own.rootfs == image.rootfs || !is_another(&own.rootfs, &image.rootfs) {
        return Ok(false);
    }
    // At the daemon's start the VMs have no tasks yet.
    Ok(shared.store.load_vms()?.iter().any(|vm| vm.image == own.id))
}

/// Whether both are there and their superblocks differ, which hold the file system's UUID.
fn is_another(old: &Path, new: &Path) -> bool {
    let superblock = |path: &Path| {
        let mut bytes = [0; 1024];
        File::open(path)?.read_exact_at(&mut bytes, 1024).map(|()| bytes)
    };
    matches!((superblock(old), superblock(new)), (Ok(old), Ok(new)) if old != new)
}

/// The bundle's image, with its files checked.
pub(crate) fn bundle_image(shared: &Shared) -> Result<Image, EngineError> {
    match &shared.settings.images {
        Images::Bundle(source) => Ok(Bundle::open(source)?.image()),
        Images::Simulated => Ok(simulated("default".parse().expect("a plain word"))),
    }
}

/// What a VM boots from, with its files checked. A root disk that shares or copies the image's blocks
/// no longer needs the image's root file system.
pub(crate) async fn image_of(shared: &Arc<Shared>, vm: &Vm) -> Result<Image, EngineError> {
    let Some(record) = shared.catalog.get(&vm.image) else {
        let name = shared.catalog.name_of(&vm.image);
        return Err(ImageError::Unknown { name }.into());
    };
    let need = match vm.overlay {
        OverlayMethod::DmSnapshot => Need::All,
        OverlayMethod::Reflink | OverlayMethod::Copy => {
            let recorded = shared.store.recorded(&vm.id)?;
            let has_root = recorded.iter().any(|resource| resource.role() == Role::RootClone);
            if has_root { Need::Boot } else { Need::All }
        }
    };
    let (shared, own) = (Arc::clone(shared), vm.own_kernel.clone());
    blocking(move || check_booting(&shared, &record, own, need)).await
}

/// Which of an image's files have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// All.
    All,
    /// Kernel and initrd.
    Boot,
}

/// What a VM of that image boots from, with the files checked that it needs.
pub(crate) fn check(
    shared: &Shared,
    record: &ImageRecord,
    need: Need,
) -> Result<Image, EngineError> {
    check_booting(shared, record, None, need)
}

/// As [`check`], with another kernel in place of the image's.
fn check_booting(
    shared: &Shared,
    record: &ImageRecord,
    own: Option<BootFiles>,
    need: Need,
) -> Result<Image, EngineError> {
    let default = shared.catalog.default();
    let Some(image) = record.image(default.as_ref()) else {
        // The bundle can say why there is none.
        bundle_image(shared)?;
        return Err(ImageError::NoKernel { name: record.name.clone() }.into());
    };
    let image = image.booting(own);
    match check_files(shared, &image, need) {
        Ok(()) => Ok(image),
        Err(source) => Err(ImageError::Artifact { name: image.name, source }.into()),
    }
}

/// In a simulation the default image's files do not exist, and others may boot with its kernel.
fn check_files(shared: &Shared, image: &Image, need: Need) -> Result<(), ArtifactError> {
    let simulated = matches!(shared.settings.images, Images::Simulated);
    if !(simulated && image.kernel.starts_with(SIMULATED)) {
        check_boot_files(image)?;
    }
    if need == Need::Boot || (simulated && image.rootfs.starts_with(SIMULATED)) {
        return Ok(());
    }
    check_rootfs(&image.rootfs)
}

/// All images, as they are now. One that cannot be used has its problem.
pub(crate) fn views(shared: &Shared) -> Vec<ImageView> {
    if let Err(error) = sync_default(shared) {
        tracing::debug!(error = fault(&error), "there is no bundle to follow");
    }
    shared.catalog.list().into_iter().map(|record| view(shared, record)).collect()
}

/// One image, as it is now.
pub(crate) fn view(shared: &Shared, record: ImageRecord) -> ImageView {
    let problem = check(shared, &record, Need::All).err();
    let image = record.image(shared.catalog.default().as_ref());
    let users = users(&shared.vms(), &record.id);
    let provenance = import::provenance(&record);
    let stale = staleness(&record);
    ImageView { record, image, problem, users, stale, provenance }
}

/// The VMs that were created from an image, in order of their names.
fn users(vms: &BTreeMap<VmId, VmHandle>, image: &ImageId) -> Vec<VmName> {
    let all = vms.values().map(|handle| handle.view().vm);
    let mut users: Vec<VmName> = all.filter(|vm| vm.image == *image).map(|vm| vm.name).collect();
    users.sort();
    users
}

/// Removes an image that no VM uses. The files of an unmanaged one stay.
pub(crate) async fn delete(
    shared: &Arc<Shared>,
    id: ImageId,
    report: &mut Reporter,
) -> Result<Finished, EngineError> {
    let (striking, image) = (Arc::clone(shared), id.clone());
    let record = blocking(move || strike(&striking, &image)).await?;
    if record.is_in(&shared.settings.layout.image(&id).dir) {
        draft::remove_directory(shared, id, report).await;
    }
    tracing::info!(image_id = %record.id, image = %record.name, "image deleted");
    Ok(Finished { vm: None, changed: true })
}

/// Removes the record of an image that no VM uses.
fn strike(shared: &Shared, id: &ImageId) -> Result<ImageRecord, EngineError> {
    // Under the lock no VM is created from it.
    let vms = shared.vms();
    let Some(record) = shared.catalog.get(id) else { return Err(EngineError::Gone) };
    let users = users(&vms, id);
    if !users.is_empty() {
        return Err(ImageError::InUse { name: record.name, users }.into());
    }
    if record.origin == ImageOrigin::Bundle && bundle_image(shared).is_ok() {
        return Err(ImageError::Default { name: record.name }.into());
    }
    shared.catalog.remove(id)?;
    Ok(record)
}

/// What a root file system measures; nothing for one that is not there.
pub(crate) fn measure(shared: &Shared, rootfs: &Path) -> Option<Bytes> {
    match shared.settings.images {
        Images::Simulated if rootfs.starts_with(SIMULATED) => Some(SIMULATED_ROOTFS),
        Images::Simulated | Images::Bundle(_) => {
            std::fs::metadata(rootfs).ok().map(|meta| Bytes(meta.len()))
        }
    }
}

/// Where the files would be that a simulation has not.
const SIMULATED: &str = "/sim";

/// Half of the default root disk, so that a simulated one over a dm-snapshot has all its parts.
const SIMULATED_ROOTFS: Bytes = Bytes(4 << 30);

fn simulated(name: ImageName) -> Image {
    Image {
        kernel: "/sim/vmlinux".into(),
        initrd: Some("/sim/initrd".into()),
        rootfs: "/sim/rootfs.ext4".into(),
        boot_args: Vec::new(),
        name,
    }
}

/// What the root file system of an image measures; nothing for one that is not there, which the host
/// will say.
pub(crate) async fn rootfs_size(shared: &Arc<Shared>, image: &Image) -> Bytes {
    let (shared, rootfs) = (Arc::clone(shared), image.rootfs.clone());
    blocking(move || measure(&shared, &rootfs).unwrap_or(Bytes(0))).await
}

/// Every object on the host that bears the instance's mark.
pub(crate) async fn inventory(shared: &Arc<Shared>) -> Result<Vec<Observed>, EngineError> {
    let host = Arc::clone(&shared.ports.host);
    let inventory = blocking(move || host.inventory()).await?;
    shared.count(inventory.len());
    Ok(inventory)
}
