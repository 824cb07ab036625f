//! Taking an image's files into managed storage: they are copied, and the record names the copies.
//!
//! The image keeps its id and its name, and the copies read as the originals do. So the VMs that were
//! created from it are none the wiser: those that run go on over the old files, and the next start of
//! each finds the new ones.

use crate::build::Workbench;
use crate::draft::{Draft, INITRD, KERNEL, ROOTFS, copy_into};
use crate::engine::Answer;
use crate::error::{EngineError, ImageError};
use crate::executor::blocking;
use crate::follow::{Interest, Tell, follow, tell_step};
use crate::images::{self, Need};
use crate::operation::{Finished, Phase, Reporter};
use crate::shared::Shared;
use banger_core::id::ImageId;
use banger_core::image::{BootFiles, ImageKind, ImageRecord};
use banger_core::names::ImagePaths;
use banger_core::unit::Bytes;
use banger_provision::Manifest;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Promotes an image.
pub(crate) async fn promote(shared: Arc<Shared>, id: ImageId, mut report: Reporter) -> Answer {
    let result = try_promote(&shared, &id, &mut report).await;
    Ok((report, result))
}

async fn try_promote(
    shared: &Arc<Shared>,
    id: &ImageId,
    report: &mut Reporter,
) -> Result<Finished, EngineError> {
    let claimed = shared.catalog.claim(id)?;
    let record = claimed.record().clone();
    if record.kind == ImageKind::Managed {
        return Ok(Finished { vm: None, changed: false });
    }
    let (looking, unchecked) = (Arc::clone(shared), record.clone());
    blocking(move || images::check(&looking, &unchecked, Need::All)).await?;
    let draft = Draft::of(shared, &report.id, claimed);
    let initrd = record.boot.as_ref().and_then(|boot| boot.initrd.clone());
    if let Some(initrd) = initrd.filter(|_| record.is_in(&draft.paths().dir)) {
        return Err(ImageError::HalfManaged { name: record.name, initrd }.into());
    }
    draft.create(report).await?;
    let bench = Arc::clone(&shared.ports.workbench);
    let copying = Copying { bench, record, paths: draft.paths().clone() };
    let copied =
        follow(shared, Interest::Everybody, report, move |cancel, to| copying.run(cancel, to));
    let copied = copied.await;
    let (draft, record) = draft.unless_failed(copied, report).await?;
    let phase = report.begin(Phase::Build("publish the image".to_owned()));
    tracing::info!(image_id = %record.id, image = %record.name, "image promoted");
    draft.publish(record, report).await?;
    report.end(phase);
    Ok(Finished { vm: None, changed: true })
}

/// The part that blocks.
struct Copying {
    bench: Arc<dyn Workbench>,
    record: ImageRecord,
    paths: ImagePaths,
}

impl Copying {
    /// Returns the record of what the draft is then.
    fn run(self, cancel: &AtomicBool, to: &Tell) -> Result<ImageRecord, EngineError> {
        tell_step(to, "copy the files");
        let bench = self.bench.as_ref();
        let copy = |from: &Path, name| copy_into(&self.paths, bench, from, name);
        // An image without a kernel goes on to boot with the default one's.
        let boot = match &self.record.boot {
            None => None,
            Some(BootFiles { kernel, initrd }) => Some(BootFiles {
                kernel: copy(kernel, KERNEL)?,
                initrd: initrd.as_ref().map(|initrd| copy(initrd, INITRD)).transpose()?,
            }),
        };
        let (old, rootfs) = (&self.record.rootfs, self.paths.draft.join(ROOTFS));
        bench.copy_rootfs(old, &rootfs, cancel).map_err(EngineError::file("copy", old))?;
        let documents = [Manifest::path_of, Manifest::sbom_path_of];
        for (from, target) in documents.map(|of| (of(old), of(&rootfs))) {
            if from.exists() {
                fs::copy(&from, &target).map_err(EngineError::file("copy", &from))?;
            }
        }
        tell_step(to, "take the digest");
        let digest = bench.digest(&rootfs, cancel).map_err(EngineError::file("read", &rootfs))?;
        let size = fs::metadata(&rootfs).map_err(EngineError::file("inspect", &rootfs))?.len();
        Ok(ImageRecord {
            kind: ImageKind::Managed,
            boot,
            rootfs: self.paths.dir.join(ROOTFS),
            size: Some(Bytes(size)),
            digest: Some(digest),
            ..self.record
        })
    }
}
