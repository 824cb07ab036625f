//! Images: for now the one that the runtime bundle holds.

use crate::engine::Answer;
use crate::error::EngineError;
use crate::executor::blocking;
use crate::operation::{Finished, Phase, Reporter};
use crate::settings::Images;
use crate::shared::Shared;
use banger_core::image::Image;
use banger_core::resource::Observed;
use banger_core::unit::Bytes;
use banger_core::vm_name::ImageName;
use banger_image::bundle::{BuildRequest, BuildStep, Bundle, build as build_bundle};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// The image of that name, with its files checked.
pub(crate) fn image(shared: &Shared, name: &ImageName) -> Result<Image, EngineError> {
    if let Images::Simulated = shared.settings.images {
        return Ok(simulated(name.clone()));
    }
    let image = default_image(shared)?;
    if image.name == *name {
        Ok(image)
    } else {
        Err(EngineError::UnknownImage { name: name.clone() })
    }
}

/// The bundle's image, with its files checked.
pub(crate) fn default_image(shared: &Shared) -> Result<Image, EngineError> {
    match &shared.settings.images {
        Images::Bundle(dir) => Ok(Bundle::open(dir)?.image()),
        Images::Simulated => Ok(simulated("default".parse().expect("a plain word"))),
    }
}

/// Half of the default root disk, so that a simulated one over a dm-snapshot has all its parts.
const SIMULATED_ROOTFS: Bytes = Bytes(4 << 30);

fn simulated(name: ImageName) -> Image {
    Image {
        kernel: "/sim/vmlinux".into(),
        initrd: "/sim/initrd".into(),
        rootfs: "/sim/rootfs.ext4".into(),
        boot_args: Vec::new(),
        name,
    }
}

/// What the root file system of an image measures; nothing for one that is not there, which the host
/// will say.
pub(crate) async fn rootfs_size(shared: &Shared, image: &Image) -> Bytes {
    let rootfs = image.rootfs.clone();
    match shared.settings.images {
        Images::Simulated => SIMULATED_ROOTFS,
        Images::Bundle(_) => {
            blocking(move || Bytes(std::fs::metadata(rootfs).map_or(0, |meta| meta.len()))).await
        }
    }
}

/// Every object on the host that bears the instance's mark.
pub(crate) async fn inventory(shared: &Arc<Shared>) -> Result<Vec<Observed>, EngineError> {
    let host = Arc::clone(&shared.ports.host);
    let inventory = blocking(move || host.inventory()).await?;
    shared.count(inventory.len());
    Ok(inventory)
}

/// Builds the bundle, one phase for each of the build's steps.
pub(crate) async fn build(shared: Arc<Shared>, mut report: Reporter) -> Answer {
    let Images::Bundle(dir) = shared.settings.images.clone() else {
        let error = EngineError::Simulated { what: "build a bundle" };
        return Ok((report, Err(error)));
    };
    let cancel = Arc::new(AtomicBool::new(false));
    let (steps, mut begun) = mpsc::unbounded_channel::<BuildStep>();
    let work = {
        let cancel = Arc::clone(&cancel);
        blocking(move || run_build(&dir, &cancel, &steps))
    };
    tokio::pin!(work);
    let mut phase = None;
    let result = loop {
        tokio::select! {
            biased;
            Some(step) = begun.recv() => {
                if let Some(running) = phase.replace(report.begin(Phase::Build(step.to_string()))) {
                    report.end(running);
                }
            }
            result = &mut work => break result,
            () = shared.closing.cancelled(), if !cancel.load(Ordering::Relaxed) => {
                cancel.store(true, Ordering::Relaxed);
            }
        }
    };
    if let (Some(running), Ok(_)) = (phase, &result) {
        report.end(running);
    }
    Ok((report, result.map(|_| Finished { vm: None, changed: true })))
}

fn run_build(
    dir: &Path,
    cancel: &AtomicBool,
    steps: &mpsc::UnboundedSender<BuildStep>,
) -> Result<PathBuf, EngineError> {
    let built = Timestamp::now().to_string();
    let name = "default".parse().expect("a plain word");
    let request = BuildRequest { dir, name, built: &built, cancel };
    let bundle = build_bundle(&request, &|step| {
        // The receiver outlives the build.
        if steps.send(step).is_err() {
            tracing::trace!("nobody waits for the build");
        }
    })?;
    Ok(bundle.dir().to_owned())
}
