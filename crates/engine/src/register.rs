//! Making an image of files that a user has. They stay where they are; an archive that is made of a
//! module tree is banger's.
//!
//! Everything is checked before anything is written.

use crate::draft::{Draft, INITRD};
use crate::engine::Answer;
use crate::error::{EngineError, ImageError};
use crate::executor::blocking;
use crate::follow::{Interest, Tell, Told, follow, tell};
use crate::images::{self, Need};
use crate::kernel::render_boot_modules;
use crate::operation::{Finished, Phase, Reporter};
use crate::shared::{Shared, now};
use banger_core::image::{BootFiles, ImageKind, ImageOrigin, ImageRecord};
use banger_core::names::ImagePaths;
use banger_core::vm_name::ImageName;
use banger_image::digest::digest_file;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An image to be registered.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its name.
    pub name: ImageName,
    /// Its kernel, by absolute path; the default image's when absent.
    pub kernel: Option<PathBuf>,
    /// The archive of that kernel's modules, by absolute path; absent where it needs none.
    pub initrd: Option<PathBuf>,
    /// That kernel's module tree (`lib/modules/<release>`), by absolute path, to make such an archive of.
    pub modules: Option<PathBuf>,
    /// Its root file system, by absolute path.
    pub rootfs: PathBuf,
    /// Words that it adds to the kernel's command line.
    pub boot_args: Vec<String>,
}

/// Checks the files, takes the digest of the root file system, and writes the record.
pub(crate) async fn register(shared: Arc<Shared>, new: NewImage, mut report: Reporter) -> Answer {
    let result = try_register(&shared, new, &mut report).await;
    Ok((report, result))
}

async fn try_register(
    shared: &Arc<Shared>,
    new: NewImage,
    report: &mut Reporter,
) -> Result<Finished, EngineError> {
    check_request(&new)?;
    let draft = Draft::begin(shared, &report.id, &new.name)?;
    let archive = match new.modules {
        Some(tree) => Some(blocking(move || render_boot_modules(&tree)).await?),
        None => None,
    };
    let mut record = ImageRecord {
        id: draft.id().clone(),
        name: new.name,
        kind: ImageKind::Unmanaged,
        origin: ImageOrigin::Registered,
        boot: new.kernel.map(|kernel| BootFiles { kernel, initrd: new.initrd }),
        rootfs: new.rootfs,
        boot_args: new.boot_args,
        size: None,
        digest: None,
        created_at: now(),
    };
    let (looking, unchecked) = (Arc::clone(shared), record.clone());
    record.size = blocking(move || {
        let image = images::check(&looking, &unchecked, Need::All)?;
        Ok::<_, EngineError>(images::measure(&looking, &image.rootfs))
    })
    .await?;
    let rootfs = record.rootfs.clone();
    let digest = move |cancel: &AtomicBool, to: &Tell| {
        tell(to, Told::Step(Phase::Digest));
        digest_file(&rootfs, cancel).map_err(EngineError::file("read", &rootfs))
    };
    record.digest = Some(follow(shared, Interest::Everybody, report, digest).await?);
    tracing::info!(image_id = %record.id, image = %record.name, "image registered");
    match archive {
        Some(archive) => publish_with(draft, record, archive, report).await?,
        None => draft.publish_record(record)?,
    }
    Ok(Finished { vm: None, changed: true })
}

/// Gives the image its archive of modules, and the record.
async fn publish_with(
    draft: Draft,
    mut record: ImageRecord,
    archive: Vec<u8>,
    report: &mut Reporter,
) -> Result<(), EngineError> {
    draft.create(report).await?;
    let ImagePaths { dir, draft: workdir } = draft.paths();
    if let Some(boot) = &mut record.boot {
        boot.initrd = Some(dir.join(INITRD));
    }
    let path = workdir.join(INITRD);
    let write = move || fs::write(&path, archive).map_err(EngineError::file("write", &path));
    let written = blocking(write).await;
    let (draft, ()) = draft.unless_failed(written, report).await?;
    draft.publish(record, report).await
}

fn check_request(new: &NewImage) -> Result<(), ImageError> {
    let (kernel, initrd, modules) =
        (new.kernel.as_ref(), new.initrd.as_ref(), new.modules.as_ref());
    let files = [Some(&new.rootfs), kernel, initrd, modules];
    if let Some(path) = files.into_iter().flatten().find(|path| !path.is_absolute()) {
        return Err(ImageError::RelativePath { path: path.clone() });
    }
    if new.initrd.is_some() && new.kernel.is_none() {
        return Err(ImageError::InitrdAlone);
    }
    if new.modules.is_some() && new.kernel.is_none() {
        return Err(ImageError::ModulesAlone);
    }
    if new.modules.is_some() && new.initrd.is_some() {
        return Err(ImageError::TwoInitrds);
    }
    // The command line is one line of words.
    let is_word = |word: &&String| !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic());
    match new.boot_args.iter().find(|word| !is_word(word)) {
        Some(word) => Err(ImageError::BootArg { word: word.clone() }),
        None => Ok(()),
    }
}
