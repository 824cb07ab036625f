//! A managed image that is being made: a name set apart, and a directory that becomes the image's by
//! one rename.
//!
//! ```text
//! <state>/images/<id>.part   while it is made; whoever finds one later removes it
//! <state>/images/<id>        once it is whole; the record comes right after
//! ```
//!
//! The name says what a directory is, so a daemon that starts needs no other book to clean up.

use crate::catalog::Reserved;
use crate::error::EngineError;
use crate::shared::Shared;
use banger_core::id::ImageId;
use banger_core::image::ImageRecord;
use banger_core::names::Layout;
use banger_core::vm_name::ImageName;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the directory of an image that is being made ends with.
const PART: &str = ".part";

/// An image that is being made. Nothing of it stays when this is dropped.
#[derive(Debug)]
pub(crate) struct Draft {
    shared: Arc<Shared>,
    reserved: Reserved,
    id: ImageId,
    part: PathBuf,
}

impl Draft {
    /// Sets the name apart and makes the directory.
    pub(crate) fn begin(shared: &Arc<Shared>, name: &ImageName) -> Result<Self, EngineError> {
        let reserved = shared.catalog.reserve(name)?;
        let id = shared.catalog.new_id()?;
        let part = images_dir(&shared.settings.layout).join(format!("{id}{PART}"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&part);
        made.map_err(failed("create", &part))?;
        Ok(Self { shared: Arc::clone(shared), reserved, id, part })
    }

    /// The image's id.
    pub(crate) fn id(&self) -> &ImageId {
        &self.id
    }

    /// The directory to write to.
    pub(crate) fn dir(&self) -> &Path {
        &self.part
    }

    /// Where the directory will be.
    pub(crate) fn home(&self) -> PathBuf {
        home(&self.shared.settings.layout, &self.id)
    }

    /// Puts the directory in its place after its files have reached the disk, then writes the record.
    pub(crate) fn publish(self, record: ImageRecord) -> Result<(), EngineError> {
        let home = self.home();
        for entry in fs::read_dir(&self.part).map_err(failed("list", &self.part))? {
            let path = entry.map_err(failed("list", &self.part))?.path();
            sync(&path)?;
        }
        sync(&self.part)?;
        fs::rename(&self.part, &home).map_err(failed("create", &home))?;
        sync(&images_dir(&self.shared.settings.layout))?;
        let written = self.shared.catalog.insert(&self.reserved, record);
        if written.is_err() {
            remove(&home);
        }
        written
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        remove(&self.part);
    }
}

fn images_dir(layout: &Layout) -> PathBuf {
    layout.state_dir().join("images")
}

fn home(layout: &Layout, id: &ImageId) -> PathBuf {
    images_dir(layout).join(id.as_str())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::File { action, path, source }
}

fn sync(path: &Path) -> Result<(), EngineError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(failed("write", path))
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %dir.display(), "the next start of the daemon removes it");
        }
        _ => {}
    }
}

/// Removes the files of a managed image that has no record any more.
pub(crate) fn remove_files(shared: &Shared, id: &ImageId) {
    remove(&home(&shared.settings.layout, id));
}

/// Removes what an earlier daemon was making when it ended: what is no whole image, and what is one
/// that has no record.
pub(crate) fn sweep(shared: &Shared) {
    let entries = fs::read_dir(images_dir(&shared.settings.layout));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let part = name.strip_suffix(PART);
        let Ok(id) = part.unwrap_or(&name).parse::<ImageId>() else { continue };
        if part.is_some() || shared.catalog.get(&id).is_none() {
            tracing::info!(path = %entry.path().display(), "an image that was not finished is removed");
            remove(&entry.path());
        }
    }
}
