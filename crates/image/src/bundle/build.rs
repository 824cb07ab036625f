//! Building a bundle from Debian packages.
//!
//! ```text
//! kernel package -> vmlinux, modules, initrd        bootstrap -> customise -> ext4
//!                              all of it -> bundle.json, last
//! ```
//!
//! A build never deletes the files of an earlier one: VMs may have their layers over them.

use super::debian::{self, KernelPackage};
use super::manifest::{BundlePath, FileRecord, MANIFEST_VERSION, Manifest, Provenance};
use super::workshop::Workshop;
use super::{BuildError, Bundle, BundleSource, MANIFEST_FILE, rootfs};
use crate::checksum::{Checksum, Summing};
use crate::initrd::{GUEST_MODULES, render_modules_archive};
use crate::kernel;
use crate::modules::ModuleTree;
use banger_core::unit::MiB;
use banger_core::vm_name::ImageName;
use banger_host::cmd::Cmd;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The programs that a build starts, with the Debian 12 packages that have them.
pub const REQUIRED_PROGRAMS: &[(&str, &str)] = &[
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("mke2fs", "e2fsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("unshare", "util-linux"),
];

/// The suite that is built from.
const SUITE: &str = "bookworm";
/// The virtual size of the root file system. It is sparse, and a VM's layer over it can be larger.
const ROOTFS_SIZE: MiB = MiB::of(8192);
/// Words for the kernel's command line. The interface has its address before udev could rename it,
/// which Linux 6.1 refuses for one that is up; so its name is `eth0` from the beginning.
const BOOT_ARGS: [&str; 1] = ["net.ifnames=0"];

/// What to build, and where.
#[derive(Debug)]
pub struct BuildRequest<'a> {
    /// The bundle's directory; it is created if it is missing.
    pub dir: &'a Path,
    /// The name of the image.
    pub name: ImageName,
    /// The time of the build in RFC 3339; it is recorded, and tells the files of builds apart.
    pub built: &'a str,
    /// Becomes true when the build shall end early.
    pub cancel: &'a AtomicBool,
}

/// The parts of a build, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStep {
    /// Downloading and unpacking the kernel's package.
    FetchKernel,
    /// Extracting the ELF kernel.
    ExtractKernel,
    /// Collecting the modules.
    Initrd,
    /// Installing the packages of the root file system; the longest.
    Bootstrap,
    /// Setting up the root file system.
    Customise,
    /// Writing the ext4 image.
    Rootfs,
    /// Taking the files' checksums.
    Checksums,
    /// Moving the files into the bundle.
    Publish,
}

impl fmt::Display for BuildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FetchKernel => "fetching the kernel package",
            Self::ExtractKernel => "extracting the kernel",
            Self::Initrd => "writing the initrd",
            Self::Bootstrap => "installing Debian packages",
            Self::Customise => "setting up the root file system",
            Self::Rootfs => "writing the root file system",
            Self::Checksums => "taking checksums",
            Self::Publish => "publishing the bundle",
        })
    }
}

/// Builds a bundle and opens it. `progress` is called at the beginning of each step.
///
/// # Errors
///
/// When a program is missing or fails, or the disk is full. The directory then holds the bundle that
/// it held before, if any, and a scratch directory at most, which the next build removes.
pub fn build(
    request: &BuildRequest<'_>,
    progress: &dyn Fn(BuildStep),
) -> Result<Bundle, BuildError> {
    if !rustix::process::geteuid().is_root() {
        return Err(BuildError::NotRoot);
    }
    let workshop = Workshop::open(request.dir)?;
    progress(BuildStep::FetchKernel);
    let package = debian::fetch_kernel(&workshop, request.cancel)?;
    progress(BuildStep::ExtractKernel);
    let vmlinux = extract(&package)?;
    let names = Names::new(request.built, &vmlinux);
    write(&workshop, &names.kernel, &vmlinux)?;
    drop(vmlinux);
    progress(BuildStep::Initrd);
    write(&workshop, &names.initrd, &collect_modules(&package)?)?;

    let root = workshop.path("root");
    progress(BuildStep::Bootstrap);
    rootfs::bootstrap(&workshop, &root, SUITE, request.cancel)?;
    progress(BuildStep::Customise);
    rootfs::customise(&root, &package)?;
    let installed = rootfs::installed_packages(&root)?;
    progress(BuildStep::Rootfs);
    rootfs::write_image(&root, &workshop.path(&names.rootfs), ROOTFS_SIZE, request.cancel)?;

    progress(BuildStep::Checksums);
    for done in ["package", "kernel", "root"] {
        workshop.discard(done)?;
    }
    let provenance = Provenance {
        built: Some(request.built.to_owned()),
        suite: Some(SUITE.to_owned()),
        archive: None,
        packages: std::iter::once(package.version).chain(installed).collect(),
        files: record(&workshop, &names, request.cancel)?,
    };
    progress(BuildStep::Publish);
    publish(&workshop, request.name.clone(), &names, provenance)?;
    Bundle::open(&BundleSource::at(workshop.dir())).map_err(BuildError::Unusable)
}

/// Moves the files into the bundle, and the manifest that names them last of all: until it is there,
/// the bundle is the one that was there before.
fn publish(
    workshop: &Workshop,
    name: ImageName,
    names: &Names,
    provenance: Provenance,
) -> Result<(), BuildError> {
    let [kernel, initrd, rootfs] = names.paths();
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        name,
        kernel,
        initrd,
        rootfs,
        modules: None,
        boot_args: BOOT_ARGS.map(str::to_owned).to_vec(),
        provenance: Some(provenance),
    };
    for file in names.all() {
        workshop.publish(file)?;
    }
    write(workshop, MANIFEST_FILE, manifest.render().as_bytes())?;
    workshop.publish(MANIFEST_FILE)
}

fn collect_modules(package: &KernelPackage) -> Result<Vec<u8>, BuildError> {
    let tree =
        ModuleTree::open(&package.modules).map_err(|error| BuildError::Initrd(error.into()))?;
    render_modules_archive(&tree, &GUEST_MODULES).map_err(BuildError::Initrd)
}

/// The names of a build's files, which no other build has.
struct Names {
    kernel: String,
    initrd: String,
    rootfs: String,
}

impl Names {
    fn new(built: &str, vmlinux: &[u8]) -> Self {
        let mut sum = Summing::default();
        sum.add(built.as_bytes());
        sum.add(vmlinux);
        let id = sum.finish().short();
        Self {
            kernel: format!("vmlinux-{id}"),
            initrd: format!("initrd-{id}"),
            rootfs: format!("rootfs-{id}.ext4"),
        }
    }

    fn all(&self) -> [&str; 3] {
        [&self.kernel, &self.initrd, &self.rootfs]
    }

    fn paths(&self) -> [BundlePath; 3] {
        self.all().map(|name| {
            BundlePath::try_from(name.to_owned()).expect("a file name is a path inside the bundle")
        })
    }
}

fn extract(package: &KernelPackage) -> Result<Vec<u8>, BuildError> {
    let image = fs::read(&package.vmlinuz).doing("read", &package.vmlinuz)?;
    let vmlinux = kernel::extract_vmlinux(&image)
        .map_err(|source| BuildError::Kernel { package: package.version.name.clone(), source })?;
    Ok(vmlinux.into_owned())
}

fn write(workshop: &Workshop, name: &str, content: &[u8]) -> Result<(), BuildError> {
    let path = workshop.path(name);
    fs::write(&path, content).doing("write", &path)
}

fn record(
    workshop: &Workshop,
    names: &Names,
    cancel: &AtomicBool,
) -> Result<BTreeMap<BundlePath, FileRecord>, BuildError> {
    let records = names.paths().into_iter().map(|name| {
        let path = workshop.path(name.as_str());
        let bytes = fs::metadata(&path).doing("inspect", &path)?.len();
        let sha256 = Checksum::of_file(&path, cancel).doing("read", &path)?;
        Ok((name, FileRecord { bytes, sha256: Some(sha256) }))
    });
    records.collect()
}

/// A program of the build: without the caller's environment but for the proxies, and not outliving
/// it.
pub(super) fn program(name: &str, timeout: Duration) -> Cmd<'static> {
    const PROXIES: [&str; 6] =
        ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    let command = Cmd::new(name)
        .clean_env()
        .env("DEBIAN_FRONTEND", "noninteractive")
        .die_with_caller()
        .timeout(timeout);
    PROXIES
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .fold(command, |command, (name, value)| command.env(name, value))
}

/// Names the step and the path on an error of the system.
pub(super) trait OnPath<T> {
    /// `action` completes "could not …".
    fn doing(self, action: &'static str, path: &Path) -> Result<T, BuildError>;
}

impl<T> OnPath<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, BuildError> {
        self.map_err(|source| BuildError::Io { action, path: path.to_owned(), source })
    }
}
