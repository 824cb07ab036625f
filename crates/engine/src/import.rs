//! Importing an image: from a directory, an archive or a container image to a managed image.
//!
//! ```text
//!   request ─► Draft ─► Importer (in a thread) ─► kernel, initrd ─► publish ─► record
//!                 └──────── whatever ends it: the draft goes
//! ```
//!
//! Nobody else wants what comes of it, so it ends when its asker leaves.

use crate::draft::{Draft, INITRD, KERNEL};
use crate::engine::Answer;
use crate::error::{EngineError, ImageError};
use crate::follow::{Interest, Tell, follow, tell_step};
use crate::kernel::render_boot_modules;
use crate::operation::{Finished, Phase, Reporter};
use crate::shared::{Shared, now};
use banger_core::image::{BootFiles, ImageKind, ImageOrigin, ImageRecord};
use banger_core::names::ImagePaths;
use banger_core::unit::{Bytes, MiB};
use banger_core::vm_name::ImageName;
use banger_image::artifact::{ArtifactError, MAX_KERNEL};
use banger_image::import::{
    ImportError, ImportRecord, ImportRequest, ImportStep, Imported, Limits, RECORD_FILE,
    import as real,
};
use banger_image::kernel::extract_vmlinux;
use banger_image::regular;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An image to be imported.
#[derive(Debug, Clone)]
pub struct ImportImage {
    /// Its name.
    pub name: ImageName,
    /// A directory or file, by absolute path.
    pub source: PathBuf,
    /// Its kernel, a `vmlinux` or `bzImage`, by absolute path; the default image's when absent.
    pub kernel: Option<PathBuf>,
    /// The kernel's module tree (`lib/modules/<release>`), by absolute path.
    pub modules: Option<PathBuf>,
    /// The size of the root file system; what it needs and a quarter more when absent.
    pub size: Option<MiB>,
    /// The most that may be unpacked.
    pub max_size: Option<MiB>,
}

/// What makes a root file system of a source.
pub trait Importer: Send + Sync + Debug {
    /// Imports. `progress` is called at the beginning of each step.
    ///
    /// # Errors
    ///
    /// As [`banger_image::import::import`] has them.
    fn import(
        &self,
        request: &ImportRequest<'_>,
        progress: &dyn Fn(ImportStep),
    ) -> Result<Imported, ImportError>;
}

/// The importer that does it.
#[derive(Debug)]
pub struct RealImporter;

impl Importer for RealImporter {
    fn import(
        &self,
        request: &ImportRequest<'_>,
        progress: &dyn Fn(ImportStep),
    ) -> Result<Imported, ImportError> {
        real(request, progress)
    }
}

/// Imports an image.
pub(crate) async fn import(
    shared: Arc<Shared>,
    request: ImportImage,
    mut report: Reporter,
) -> Answer {
    let result = try_import(&shared, request, &mut report).await;
    Ok((report, result))
}

async fn try_import(
    shared: &Arc<Shared>,
    request: ImportImage,
    report: &mut Reporter,
) -> Result<Finished, EngineError> {
    check_request(&request)?;
    let draft = Draft::begin(shared, &report.id, &request.name)?;
    let made = run(shared, &request, &draft, report).await;
    // Its last steps cannot be broken off.
    let made = if report.is_left() { Err(ImportError::Cancelled.into()) } else { made };
    let (draft, record) = draft.unless_failed(made, report).await?;
    let phase = report.begin(Phase::Build("publishing the image".to_owned()));
    let (id, name) = (record.id.clone(), record.name.clone());
    draft.publish(record, report).await?;
    tracing::info!(image_id = %id, image = %name, "image imported");
    report.end(phase);
    Ok(Finished { vm: None, changed: true })
}

/// Does the work, unless the asker leaves or the daemon ends.
async fn run(
    shared: &Arc<Shared>,
    request: &ImportImage,
    draft: &Draft,
    report: &mut Reporter,
) -> Result<ImageRecord, EngineError> {
    draft.create(report).await?;
    let importer = Arc::clone(&shared.ports.importer);
    let (request, id) = (request.clone(), draft.id().clone());
    let ImagePaths { dir: home, draft: dir } = draft.paths().clone();
    let work = move |cancel: &AtomicBool, to: &Tell| {
        let step = |step: String| tell_step(to, step);
        let job = Job { request: &request, dir: &dir, cancel, step: &step };
        job.run(importer.as_ref(), |boot, rootfs, size| ImageRecord {
            id,
            name: request.name.clone(),
            kind: ImageKind::Managed,
            origin: ImageOrigin::Imported,
            boot: boot.map(|boot| BootFiles {
                kernel: home.join(boot.kernel),
                initrd: boot.initrd.map(|initrd| home.join(initrd)),
            }),
            rootfs: home.join(rootfs),
            boot_args: Vec::new(),
            size: Some(size),
            digest: None,
            created_at: now(),
        })
    };
    let (record, warnings) = follow(shared, Interest::Asker, report, work).await?;
    warnings.into_iter().for_each(|warning| report.note(warning));
    Ok(record)
}

/// The part of an import that blocks.
struct Job<'a> {
    request: &'a ImportImage,
    dir: &'a Path,
    cancel: &'a AtomicBool,
    step: &'a dyn Fn(String),
}

impl Job<'_> {
    fn run(
        &self,
        importer: &dyn Importer,
        record: impl FnOnce(Option<BootFiles>, &Path, Bytes) -> ImageRecord,
    ) -> Result<(ImageRecord, Vec<String>), EngineError> {
        // First, since it is quick and may fail.
        let boot = self.boot_files()?;
        let limits = Limits {
            bytes: self.request.max_size.map_or(Limits::DEFAULT_BYTES, MiB::bytes),
            ..Limits::default()
        };
        let request = ImportRequest {
            source: &self.request.source,
            dir: self.dir,
            size: self.request.size,
            limits,
            cancel: self.cancel,
        };
        let imported = importer.import(&request, &|step| (self.step)(step.to_string()))?;
        let rootfs = &imported.rootfs;
        let found = fs::metadata(rootfs).map_err(EngineError::file("inspect", rootfs))?;
        let size = Bytes(found.len());
        let name = Path::new(rootfs.file_name().expect("the importer has made a file"));
        Ok((record(boot, name, size), imported.record.warnings))
    }

    /// Makes kernel and initrd of the image's own, by their names in its directory.
    fn boot_files(&self) -> Result<Option<BootFiles>, EngineError> {
        let Some(kernel) = &self.request.kernel else { return Ok(None) };
        (self.step)("copying the kernel".to_owned());
        let bytes = regular::read(kernel, MAX_KERNEL).map_err(EngineError::file("read", kernel))?;
        let vmlinux = extract_vmlinux(&bytes).map_err(|source| ImageError::Artifact {
            name: self.request.name.clone(),
            source: ArtifactError::Kernel { path: kernel.clone(), source },
        })?;
        self.write(KERNEL, &vmlinux)?;
        let Some(modules) = &self.request.modules else {
            return Ok(Some(BootFiles { kernel: KERNEL.into(), initrd: None }));
        };
        self.write(INITRD, &render_boot_modules(modules)?)?;
        Ok(Some(BootFiles { kernel: KERNEL.into(), initrd: Some(INITRD.into()) }))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(EngineError::file("write", &path))
    }
}

fn check_request(request: &ImportImage) -> Result<(), ImageError> {
    let files = [Some(&request.source), request.kernel.as_ref(), request.modules.as_ref()];
    if let Some(path) = files.into_iter().flatten().find(|path| !path.is_absolute()) {
        return Err(ImageError::RelativePath { path: path.clone() });
    }
    match request.modules.is_some() && request.kernel.is_none() {
        true => Err(ImageError::ModulesAlone),
        false => Ok(()),
    }
}

/// What is known of where an imported image came from.
pub(crate) fn provenance(record: &ImageRecord) -> Option<ImportRecord> {
    if record.origin != ImageOrigin::Imported {
        return None;
    }
    let path = record.rootfs.parent()?.join(RECORD_FILE);
    let read = fs::read(&path).map_err(|error| error.to_string());
    let parsed =
        read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    parsed.inspect_err(|error| tracing::warn!(error, path = %path.display(), "it is lost")).ok()
}
