//! A managed image that is being made: a name set apart, and a directory that becomes the image's by
//! one rename.
//!
//! ```text
//! <state>/images/<id>.part   while it is made
//! <state>/images/<id>        once it is whole; the record comes right after
//! ```
//!
//! Both are in the ledger before they are on the host. A daemon that starts removes every draft, and
//! every image without a record.

use crate::build::Workbench;
use crate::catalog::{Claimed, Reserved};
use crate::error::{EngineError, LeftBehind};
use crate::executor::{SetupError, blocking};
use crate::operation::Reporter;
use crate::shared::Shared;
use banger_core::error::chain;
use banger_core::id::{ImageId, OpId};
use banger_core::image::ImageRecord;
use banger_core::names::ImagePaths;
use banger_core::resource::Resource;
use banger_core::vm_name::ImageName;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the files of a managed image are called.
pub(crate) const ROOTFS: &str = banger_image::import::ROOTFS_FILE;
pub(crate) const KERNEL: &str = "vmlinux";
pub(crate) const INITRD: &str = "initrd";

/// An image that is being made, or one that gets a directory of its own. It ends by [`Draft::publish`], or by
/// [`Draft::unless_failed`].
#[derive(Debug)]
pub(crate) struct Draft {
    shared: Arc<Shared>,
    op: OpId,
    claim: Claim,
    id: ImageId,
    paths: ImagePaths,
}

/// What was set apart.
#[derive(Debug)]
enum Claim {
    /// The name of an image that is not there yet.
    Name(Reserved),
    /// An image.
    Image(Claimed),
}

impl Draft {
    /// Sets the name apart. Nothing is on the host yet.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        op: &OpId,
        name: &ImageName,
    ) -> Result<Self, EngineError> {
        let reserved = shared.catalog.reserve(name)?;
        let id = shared.catalog.new_id()?;
        let paths = shared.settings.layout.image(&id);
        let claim = Claim::Name(reserved);
        Ok(Self { shared: Arc::clone(shared), op: op.clone(), claim, id, paths })
    }

    /// A draft of files for an image that there is and that has no directory yet.
    pub(crate) fn of(shared: &Arc<Shared>, op: &OpId, claimed: Claimed) -> Self {
        let id = claimed.record().id.clone();
        let paths = shared.settings.layout.image(&id);
        let claim = Claim::Image(claimed);
        Self { shared: Arc::clone(shared), op: op.clone(), claim, id, paths }
    }

    /// The directory to write to, once it is made, and where it will be.
    pub(crate) fn paths(&self) -> &ImagePaths {
        &self.paths
    }

    /// The image's id.
    pub(crate) fn id(&self) -> &ImageId {
        &self.id
    }

    /// Makes the directory to write to.
    pub(crate) async fn create(&self, report: &mut Reporter) -> Result<(), EngineError> {
        self.set_up(self.part(), report).await
    }

    /// Puts the directory in its place after its files have reached the disk, then writes the
    /// record. What fails leaves nothing.
    pub(crate) async fn publish(
        self,
        record: ImageRecord,
        report: &mut Reporter,
    ) -> Result<(), EngineError> {
        let home = whole(self.id.clone(), self.paths.clone());
        if let Err(error) = self.set_up(home.clone(), report).await {
            self.discard(report).await;
            return Err(error);
        }
        let (shared, op, part) = (Arc::clone(&self.shared), self.op.clone(), self.part());
        let written = blocking(move || self.write(record)).await;
        let over = if written.is_ok() { vec![part] } else { vec![part, home] };
        leave_behind(shared.executor.tear_down(&op, over).await, report);
        written
    }

    /// Writes the record of an image that has no file in the directory, which was not made.
    pub(crate) fn publish_record(self, record: ImageRecord) -> Result<(), EngineError> {
        self.write(record)
    }

    fn write(&self, record: ImageRecord) -> Result<(), EngineError> {
        match &self.claim {
            Claim::Name(reserved) => self.shared.catalog.insert(reserved, record),
            Claim::Image(claimed) => self.shared.catalog.replace(claimed, record),
        }
    }

    /// Goes on with what was made in it. Where that failed, nothing of it stays.
    pub(crate) async fn unless_failed<T, E>(
        self,
        made: Result<T, E>,
        report: &mut Reporter,
    ) -> Result<(Self, T), E> {
        match made {
            Ok(made) => Ok((self, made)),
            Err(error) => {
                self.discard(report).await;
                Err(error)
            }
        }
    }

    /// Removes what was made.
    async fn discard(self, report: &mut Reporter) {
        let left = self.shared.executor.tear_down(&self.op, vec![self.part()]).await;
        leave_behind(left, report);
    }

    fn part(&self) -> Resource {
        Resource::ImageDraft { image: self.id.clone(), path: self.paths.draft.clone() }
    }

    async fn set_up(&self, resource: Resource, report: &mut Reporter) -> Result<(), EngineError> {
        // Short: nobody's interruption ends it half-way.
        let never = CancellationToken::new();
        match self.shared.executor.set_up(&self.op, vec![resource], &never).await {
            Ok(_) => Ok(()),
            Err(SetupError::Host { source, undo }) => {
                leave_behind(undo, report);
                Err(EngineError::ImageDirectory(source))
            }
            Err(SetupError::Ledger(error)) => Err(error),
            Err(SetupError::Cancelled { .. }) => Err(EngineError::ShuttingDown),
        }
    }
}

/// Copies a file into a draft; returns where it is once the image is whole.
pub(crate) fn copy_into(
    paths: &ImagePaths,
    bench: &dyn Workbench,
    from: &Path,
    name: &str,
) -> Result<PathBuf, EngineError> {
    let copied = bench.copy(from, &paths.draft.join(name));
    copied.map_err(EngineError::file("copy", from))?;
    Ok(paths.dir.join(name))
}

fn whole(image: ImageId, ImagePaths { dir, draft }: ImagePaths) -> Resource {
    Resource::ImageDir { image, path: dir, draft }
}

/// Removes the directory of a managed image whose record is gone.
pub(crate) async fn remove_directory(shared: &Shared, image: ImageId, report: &mut Reporter) {
    let paths = shared.settings.layout.image(&image);
    let left = shared.executor.tear_down(&report.id, vec![whole(image, paths)]).await;
    leave_behind(left, report);
}

fn leave_behind(left: Vec<LeftBehind>, report: &mut Reporter) {
    for LeftBehind { object, error, .. } in &left {
        let why = chain(error);
        report.note(format!("`{object}` is left until the daemon starts again: {why}"));
    }
    report.leave_behind(left);
}
