//! What is to be built, looked at before anything is made.

use super::own_kernel::OwnKernel;
use crate::error::{EngineError, ImageBuildError, ImageError};
use banger_core::spec::SpecChange;
use banger_core::unit::MiB;
use banger_core::vm_name::ImageName;
use banger_image::regular;
use banger_provision::{ModulesTree, PackageList, PackageName, ProvisionError, Script, is_place};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest list of packages and the largest script, in bytes.
const LIST: usize = 1 << 20;
const SCRIPT: usize = 16 << 20;

/// An image to be built. All paths are absolute and the daemon's host's.
#[derive(Debug, Clone)]
pub struct BuildImage {
    /// Its name.
    pub name: ImageName,
    /// The image to begin with; the default one when absent.
    pub from: Option<ImageName>,
    /// A file with a list of packages.
    pub package_file: Option<PathBuf>,
    /// More packages.
    pub packages: Vec<PackageName>,
    /// What its root file system measures; as much as that of the image to begin with when absent.
    pub size: Option<MiB>,
    /// A tree of kernel modules to be installed.
    pub modules: Option<PathBuf>,
    /// Its kernel; that of the image to begin with when absent.
    pub kernel: Option<PathBuf>,
    /// The archive of the modules that this kernel needs to boot; made of `modules` when absent.
    pub initrd: Option<PathBuf>,
    /// Scripts to be run, in order.
    pub scripts: Vec<PathBuf>,
    /// What is to be copied into it.
    pub copies: Vec<BuildCopy>,
    /// What the VM is given that it is built in: processors, memory, NAT.
    pub spec: SpecChange,
    /// Whether its user works in that VM after everything else, and then says whether to save it.
    pub by_hand: bool,
    /// Whether that VM stays when something fails.
    pub keep_on_failure: bool,
}

/// Something to be copied into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildCopy {
    /// A file or a directory.
    pub from: PathBuf,
    /// Its place in the image; with a `/` at its end, the directory that a file goes into.
    pub to: String,
}

/// A request whose files have been looked at.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) request: BuildImage,
    /// All packages that are asked for.
    pub(super) list: PackageList,
    /// The digest of those that the file asks for.
    pub(super) file_sha256: Option<String>,
    pub(super) modules: Option<ModulesTree>,
    pub(super) kernel: Option<OwnKernel>,
    pub(super) scripts: Vec<Script>,
}

/// Looks at everything that the request names. Blocks.
pub(super) fn prepare(request: BuildImage) -> Result<Plan, EngineError> {
    let copied = request.copies.iter().map(|copy| &copy.from);
    let optional = [&request.package_file, &request.modules, &request.kernel, &request.initrd];
    let all = optional.into_iter().flatten().chain(&request.scripts).chain(copied);
    for path in all {
        if !path.is_absolute() {
            return Err(ImageError::RelativePath { path: path.clone() }.into());
        }
        fs::metadata(path).map_err(EngineError::file("read", path))?;
    }
    if let Some(copy) = request.copies.iter().find(|copy| !is_place(&copy.to)) {
        return Err(ProvisionError::Place { path: copy.to.clone() }.into());
    }
    let mut list = PackageList::default();
    let mut file_sha256 = None;
    if let Some(path) = &request.package_file {
        let text = read_list(path).map_err(EngineError::file("read", path))?;
        list = PackageList::parse(&text)
            .map_err(|source| ImageBuildError::List { path: path.clone(), source })?;
        file_sha256 = Some(list.sha256());
    }
    request.packages.iter().cloned().for_each(|name| list.add(name));
    let modules = request.modules.as_deref().map(ModulesTree::open).transpose();
    let modules = modules.map_err(|source| ImageBuildError::Provision(source.into()))?;
    let kernel = OwnKernel::prepare(&request, modules.as_ref())?;
    let scripts = request.scripts.iter().map(|path| {
        let bytes = regular::read(path, SCRIPT).map_err(EngineError::file("read", path))?;
        Ok(Script { path: path.clone(), bytes })
    });
    let scripts = scripts.collect::<Result<_, EngineError>>()?;
    Ok(Plan { list, file_sha256, modules, kernel, scripts, request })
}

/// What a file says that lists packages.
pub(super) fn read_list(path: &Path) -> io::Result<String> {
    let bytes = regular::read(path, LIST)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
