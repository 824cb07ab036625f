//! A kernel that an image is given in place of that of the image that it begins with. Its build boots
//! it too, so that what the guest does is done under the kernel that the image has.
//!
//! It stays where its owner has it until the image takes a copy. Where the archive of its modules is
//! made of a tree, that is a file beside the build's log, for as long as a VM may boot with it.

use super::BuildImage;
use super::log::builds_dir;
use crate::error::{EngineError, ImageBuildError, ImageError};
use crate::kernel::render_boot_modules;
use crate::shared::Shared;
use banger_core::id::OpId;
use banger_core::image::BootFiles;
use banger_core::names::Layout;
use banger_image::artifact::{check_initrd, check_kernel};
use banger_image::kernel::release;
use banger_provision::ModulesTree;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What such an archive is called after the operation.
const ARCHIVE: &str = "initrd";

/// The kernel, looked at before anything is made.
#[derive(Debug)]
pub(super) struct OwnKernel {
    kernel: PathBuf,
    modules: BootModules,
}

/// The modules that it needs to boot.
#[derive(Debug)]
enum BootModules {
    None,
    /// In a file that there is.
    File(PathBuf),
    /// The archive, made of a tree.
    Rendered(Vec<u8>),
}

impl OwnKernel {
    /// Looks at what the request names. Blocks.
    pub(super) fn prepare(
        request: &BuildImage,
        tree: Option<&ModulesTree>,
    ) -> Result<Option<Self>, EngineError> {
        let unusable = |source| ImageError::Artifact { name: request.name.clone(), source };
        let Some(kernel) = request.kernel.clone() else {
            return match request.initrd {
                Some(_) => Err(ImageError::InitrdAlone.into()),
                None => Ok(None),
            };
        };
        check_kernel(&kernel).map_err(unusable)?;
        let modules = match (&request.initrd, tree) {
            (Some(archive), _) => {
                check_initrd(archive).map_err(unusable)?;
                BootModules::File(archive.clone())
            }
            (None, Some(tree)) => {
                BootModules::Rendered(render_boot_modules(release_of(&kernel, tree)?)?)
            }
            (None, None) => BootModules::None,
        };
        Ok(Some(Self { kernel, modules }))
    }

    /// What a VM boots with. An archive that was made is written for that.
    pub(super) fn place(self, layout: &Layout, op: &OpId) -> Result<Placed, EngineError> {
        let (initrd, archive) = match self.modules {
            BootModules::None => (None, None),
            BootModules::File(path) => (Some(path), None),
            BootModules::Rendered(bytes) => {
                let path = builds_dir(layout.state_dir()).join(format!("{op}.{ARCHIVE}"));
                fs::write(&path, bytes).map_err(EngineError::file("write", &path))?;
                (Some(path.clone()), Some(path))
            }
        };
        Ok(Placed { boot: BootFiles { kernel: self.kernel, initrd }, archive })
    }
}

/// The release in the tree that is the kernel's.
fn release_of<'a>(kernel: &Path, tree: &'a ModulesTree) -> Result<&'a Path, EngineError> {
    let bytes = fs::read(kernel).map_err(EngineError::file("read", kernel))?;
    let of_kernel = release(&bytes);
    let mut fitting =
        tree.releases.iter().filter(|(name, _)| of_kernel.is_none_or(|it| it == name));
    match (fitting.next(), fitting.next()) {
        (Some((_, dir)), None) => Ok(dir),
        _ => Err(ImageBuildError::OtherModules {
            path: tree.path.clone(),
            kernel: of_kernel.map(str::to_owned),
            releases: tree.releases.iter().map(|(name, _)| name.clone()).collect(),
        }
        .into()),
    }
}

/// What a build's VM boots with. An archive that was made goes when this is dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) boot: BootFiles,
    archive: Option<PathBuf>,
}

impl Placed {
    /// Leaves the archive to a VM that stays.
    pub(super) fn keep(mut self) {
        self.archive = None;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.archive.iter().for_each(|path| remove(path));
    }
}

/// Removes the archives that no VM boots with any more.
pub(crate) fn sweep_archives(shared: &Shared) {
    let wanted: Vec<PathBuf> = {
        let vms = shared.vms();
        let own = vms.values().filter_map(|handle| handle.view().vm.own_kernel?.initrd);
        own.collect()
    };
    let entries = fs::read_dir(builds_dir(shared.settings.layout.state_dir()));
    for path in entries.into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|it| it == ARCHIVE) && !wanted.contains(&path) {
            remove(&path);
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "the next start of the daemon removes it");
        }
        _ => {}
    }
}
