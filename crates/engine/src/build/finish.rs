//! From a root disk that nobody writes to any more to an image with its record. Once the disk is
//! taken, nothing ends this but a failure.

use super::{Content, Job, Workbench};
use crate::draft::{Draft, INITRD, KERNEL, ROOTFS, copy_into};
use crate::error::EngineError;
use crate::executor::blocking;
use crate::operation::{Phase, Reporter};
use crate::shared::now;
use banger_core::id::ImageId;
use banger_core::image::{BootFiles, ImageKind, ImageOrigin, ImageRecord};
use banger_core::names::ImagePaths;
use banger_core::unit::{Bytes, MiB};
use banger_provision::{
    Base, CopyRecord, FileRecord, Manifest, ModulesRecord, Request, render_spdx,
};
use jiff::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A size that holds this many bytes.
pub(super) fn whole_mebibytes(size: Bytes) -> Option<MiB> {
    let count = size.0.div_ceil(1 << 20);
    u32::try_from(count).ok().and_then(|count| MiB::try_from(count).ok())
}

/// Why there is no image.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) error: EngineError,
    pub(super) disk: Disk,
}

/// Who has the disk that was to be the image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// The VM, as before.
    Vm,
    /// Nobody: it has gone with the draft.
    Nobody,
}

impl Unfinished {
    fn before(error: EngineError) -> Self {
        Self { error, disk: Disk::Vm }
    }

    fn after(error: EngineError) -> Self {
        Self { error, disk: Disk::Nobody }
    }
}

/// Takes the disk, writes the documents, and publishes the image.
pub(super) async fn finish(
    job: &Job,
    draft: Draft,
    content: Content,
    report: &mut Reporter,
) -> Result<(), Unfinished> {
    let phase = report.begin(Phase::Build("publish the image".to_owned()));
    draft.create(report).await.map_err(Unfinished::before)?;
    let filling = Filling {
        bench: Arc::clone(&job.shared.ports.workbench),
        disk: job.handle.view().paths.root_clone,
        manifest: manifest(job, content),
        record: record(job, &draft),
        paths: draft.paths().clone(),
    };
    let boot = boot(job);
    let gathered = blocking(move || filling.gather(&boot)).await;
    // The last moment at which it can be ended.
    let gathered = gathered.and_then(|filling| job.check_wanted().map(|()| filling));
    let gathered = gathered.map_err(Unfinished::before);
    let (draft, filling) = draft.unless_failed(gathered, report).await?;
    let filled = blocking(move || filling.fill()).await;
    let (draft, record) = draft.unless_failed(filled, report).await?;
    draft.publish(record, report).await.map_err(Unfinished::after)?;
    report.end(phase);
    Ok(())
}

/// What the image boots with, as it is before it is copied.
fn boot(job: &Job) -> BootFiles {
    let base = &job.image;
    match &job.kernel {
        Some(own) => own.boot.clone(),
        None => BootFiles { kernel: base.kernel.clone(), initrd: base.initrd.clone() },
    }
}

/// The part that blocks: what a draft is filled with.
struct Filling {
    bench: Arc<dyn Workbench>,
    disk: PathBuf,
    manifest: Manifest,
    record: ImageRecord,
    paths: ImagePaths,
}

impl Filling {
    /// Copies what the image has beside its root file system.
    fn gather(mut self, boot: &BootFiles) -> Result<Self, EngineError> {
        let BootFiles { kernel, initrd } = boot;
        let sha256 = self.bench.sha256(kernel).map_err(EngineError::file("read", kernel))?;
        let boot = BootFiles {
            kernel: self.copy(kernel, KERNEL)?,
            initrd: initrd.as_ref().map(|initrd| self.copy(initrd, INITRD)).transpose()?,
        };
        self.manifest.kernel = FileRecord { path: boot.kernel.clone(), sha256 };
        self.record.boot = Some(boot);
        Ok(self)
    }

    /// Takes the disk; returns the record of what the draft is then.
    fn fill(self) -> Result<ImageRecord, Unfinished> {
        let rootfs = self.paths.draft.join(ROOTFS);
        let taken = self.bench.take(&self.disk, &rootfs);
        taken.map_err(EngineError::file("move", &self.disk)).map_err(Unfinished::before)?;
        self.describe(&rootfs).map_err(Unfinished::after)
    }

    /// Writes the documents.
    fn describe(self, rootfs: &Path) -> Result<ImageRecord, EngineError> {
        let size = fs::metadata(rootfs).map_err(EngineError::file("inspect", rootfs))?.len();
        let digest = self.bench.digest(rootfs, &AtomicBool::new(false));
        let digest = digest.map_err(EngineError::file("read", rootfs))?;
        let sbom = render_spdx(&self.manifest, &unique(&self.record.id));
        let documents = [
            (Manifest::path_of(rootfs), self.manifest.render()),
            (Manifest::sbom_path_of(rootfs), sbom),
        ];
        for (path, text) in documents {
            fs::write(&path, &text).map_err(EngineError::file("write", &path))?;
        }
        Ok(ImageRecord { size: Some(Bytes(size)), digest: Some(digest), ..self.record })
    }

    fn copy(&self, from: &Path, name: &str) -> Result<PathBuf, EngineError> {
        copy_into(&self.paths, self.bench.as_ref(), from, name)
    }
}

/// What makes a document's namespace unique.
fn unique(id: &ImageId) -> String {
    format!("{id}:{}", Timestamp::now().as_millisecond())
}

fn record(job: &Job, draft: &Draft) -> ImageRecord {
    ImageRecord {
        id: draft.id().clone(),
        name: job.plan.request.name.clone(),
        kind: ImageKind::Managed,
        origin: ImageOrigin::Built,
        boot: None,
        rootfs: draft.paths().dir.join(ROOTFS),
        boot_args: job.image.boot_args.clone(),
        size: None,
        digest: None,
        created_at: now(),
    }
}

/// The document, but for what is only known of the kernel later.
fn manifest(job: &Job, content: Content) -> Manifest {
    let (request, list) = (&job.plan.request, &job.plan.list);
    let copies = request.copies.iter();
    let scripts = job.plan.scripts.iter();
    let scripts =
        scripts.map(|script| FileRecord { path: script.path.clone(), sha256: script.sha256() });
    Manifest {
        version: Manifest::VERSION,
        image: request.name.to_string(),
        // The SBOM takes no fractions of a second.
        built_at: Timestamp::from_second(Timestamp::now().as_second())
            .map_or_else(|_| String::new(), |now| now.to_string()),
        builder: format!("banger-{}", env!("CARGO_PKG_VERSION")),
        base: Base {
            image: job.base.name.to_string(),
            id: job.base.id.to_string(),
            rootfs: job.image.rootfs.clone(),
            digest: content.base_digest,
        },
        distribution: content.distribution,
        kernel: FileRecord { path: PathBuf::new(), sha256: String::new() },
        request: Request {
            file: request.package_file.clone(),
            file_sha256: job.plan.file_sha256.clone(),
            packages: list.normalised(),
            sha256: list.sha256(),
        },
        package_manager: content.manager,
        packages: content.packages,
        by_hand: request.by_hand,
        scripts: scripts.collect(),
        copies: copies
            .map(|copy| CopyRecord { from: copy.from.clone(), to: copy.to.clone() })
            .collect(),
        modules: job.plan.modules.as_ref().map(|tree| ModulesRecord {
            path: tree.path.clone(),
            releases: tree.releases.iter().map(|(release, _)| release.clone()).collect(),
        }),
    }
}
