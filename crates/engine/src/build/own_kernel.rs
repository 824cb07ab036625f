//! A kernel that an image is given in place of that of the image that it begins with. Its build boots
//! it too, so that what the guest does is done under the kernel that the image has.
//!
//! It is read once, so that what is looked at, what is booted and what the image has are the same. For as
//! long as a VM may boot with it, it is a file beside the build's log, as is the archive of its modules.

use super::BuildImage;
use super::log::builds_dir;
use crate::error::{EngineError, ImageBuildError, ImageError};
use crate::kernel::render_boot_modules;
use crate::shared::Shared;
use banger_core::id::OpId;
use banger_core::image::BootFiles;
use banger_core::names::Layout;
use banger_image::artifact::{read_initrd, read_kernel};
use banger_image::kernel::release;
use banger_provision::ModulesTree;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What such files are called after the operation.
const KERNEL: &str = "vmlinux";
const ARCHIVE: &str = "initrd";

/// The kernel and the archive of the modules that it needs to boot, looked at before anything is made.
#[derive(Debug)]
pub(super) struct OwnKernel {
    kernel: Vec<u8>,
    archive: Option<Vec<u8>>,
}

impl OwnKernel {
    /// Looks at what the request names. Blocks.
    pub(super) fn prepare(
        request: &BuildImage,
        tree: Option<&ModulesTree>,
    ) -> Result<Option<Self>, EngineError> {
        let unusable = |source| ImageError::Artifact { name: request.name.clone(), source };
        let Some(path) = &request.kernel else {
            return match request.initrd {
                Some(_) => Err(ImageError::InitrdAlone.into()),
                None => Ok(None),
            };
        };
        let kernel = read_kernel(path).map_err(unusable)?;
        let archive = match (&request.initrd, tree) {
            (Some(archive), _) => Some(read_initrd(archive).map_err(unusable)?),
            (None, Some(tree)) => Some(render_boot_modules(release_of(&kernel, tree)?)?),
            (None, None) => None,
        };
        Ok(Some(Self { kernel, archive }))
    }

    /// Writes what a VM boots with. What cannot be written leaves nothing. Blocks.
    pub(super) fn place(self, layout: &Layout, op: &OpId) -> Result<Placed, EngineError> {
        let dir = builds_dir(layout.state_dir());
        let (kernel, initrd) =
            (dir.join(format!("{op}.{KERNEL}")), dir.join(format!("{op}.{ARCHIVE}")));
        let initrd = self.archive.is_some().then_some(initrd);
        let placed = Placed { boot: BootFiles { kernel, initrd }, kept: false };
        let BootFiles { kernel, initrd } = &placed.boot;
        let files = [(Some(kernel), Some(self.kernel)), (initrd.as_ref(), self.archive)];
        for (path, bytes) in files.into_iter().filter_map(|(path, bytes)| path.zip(bytes)) {
            fs::write(path, bytes).map_err(EngineError::file("write", path))?;
        }
        Ok(placed)
    }
}

/// The release in the tree that is the kernel's.
fn release_of<'a>(kernel: &[u8], tree: &'a ModulesTree) -> Result<&'a Path, EngineError> {
    let of_kernel = release(kernel);
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

/// What a build's VM boots with. The files go when this is dropped, unless they are kept.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) boot: BootFiles,
    kept: bool,
}

impl Placed {
    /// Leaves the files to a VM that stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.kept {
            files(&self.boot).for_each(|path| remove(path));
        }
    }
}

fn files(boot: &BootFiles) -> impl Iterator<Item = &PathBuf> {
    [&boot.kernel].into_iter().chain(&boot.initrd)
}

/// Removes the files that no VM boots with any more.
pub(crate) fn sweep_kernels(shared: &Shared) {
    let wanted: Vec<PathBuf> = {
        let vms = shared.vms();
        let own = vms.values().filter_map(|handle| handle.view().vm.own_kernel);
        own.flat_map(|boot| files(&boot).cloned().collect::<Vec<_>>()).collect()
    };
    let entries = fs::read_dir(builds_dir(shared.settings.layout.state_dir()));
    for path in entries.into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_one = path.extension().is_some_and(|it| it == KERNEL || it == ARCHIVE);
        if is_one && !wanted.contains(&path) {
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
