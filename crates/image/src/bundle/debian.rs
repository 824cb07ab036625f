//! The kernel's Debian package: finding, fetching and unpacking it.

use super::BuildError;
use super::build::{OnPath, program};
use super::manifest::PackageVersion;
use super::workshop::Workshop;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The package that depends on the current kernel for virtual machines.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// For the programs that only look something up.
const SHORT: Duration = Duration::from_secs(60);
/// For a download of 30 MB, and for unpacking it.
const LONG: Duration = Duration::from_secs(900);

/// A kernel package, unpacked.
#[derive(Debug)]
pub(super) struct KernelPackage {
    /// Name and version.
    pub(super) version: PackageVersion,
    /// The compressed kernel.
    pub(super) vmlinuz: PathBuf,
    /// The module tree, with depmod's lists.
    pub(super) modules: PathBuf,
    /// The kernel's release, as uname(1) would say it.
    pub(super) release: String,
}

/// Fetches the current kernel's package and unpacks it in the workshop.
pub(super) fn fetch_kernel(
    workshop: &Workshop,
    cancel: &AtomicBool,
) -> Result<KernelPackage, BuildError> {
    let name = find_kernel_package(cancel)?;
    let dir = workshop.create_dir("package")?;
    // As its own user apt could not write into this directory.
    program("apt-get", LONG)
        .args(["-o", "APT::Sandbox::User=root", "-q", "download", &name])
        .dir(&dir)
        .run_cancellable(cancel)
        .map_err(|source| BuildError::Program { action: "download the kernel package", source })?;
    let content = |what| BuildError::PackageContent { package: name.clone(), what };
    let deb = only_entry(&dir, |name| name.ends_with(".deb"))?.ok_or_else(|| content("file"))?;
    let version = package_version(&deb, cancel)?;

    let tree = workshop.create_dir("kernel")?;
    program("dpkg-deb", LONG)
        .arg("-x")
        .args([&deb, &tree])
        .run_cancellable(cancel)
        .map_err(|source| BuildError::Program { action: "unpack the kernel package", source })?;
    let vmlinuz = only_entry(&tree.join("boot"), |name| name.starts_with("vmlinuz-"))?
        .ok_or_else(|| content("kernel"))?;
    // Debian 13 has moved /lib into /usr in its packages too. depmod looks below lib.
    let base = if tree.join("lib/modules").is_dir() { tree.clone() } else { tree.join("usr") };
    let modules =
        only_entry(&base.join("lib/modules"), |_| true)?.ok_or_else(|| content("modules"))?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    program("depmod", SHORT)
        .arg("-b")
        .arg(&base)
        .arg(&release)
        .run_cancellable(cancel)
        .map_err(|source| BuildError::Program { action: "list the kernel's modules", source })?;
    Ok(KernelPackage { version, vmlinuz, modules, release })
}

fn find_kernel_package(cancel: &AtomicBool) -> Result<String, BuildError> {
    let output = program("apt-cache", SHORT)
        .args(["depends", META_PACKAGE])
        .run_cancellable(cancel)
        .map_err(|source| BuildError::Program { action: "find the current kernel", source })?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    first_kernel(&answer).map(str::to_owned).ok_or_else(|| BuildError::NoKernelPackage {
        package: META_PACKAGE.to_owned(),
        answer: answer.clone(),
    })
}

/// The kernel in what `apt-cache depends` says of the meta package.
fn first_kernel(answer: &str) -> Option<&str> {
    let depends = answer.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    depends.map(str::trim).find(|name| name.starts_with("linux-image-"))
}

fn package_version(deb: &Path, cancel: &AtomicBool) -> Result<PackageVersion, BuildError> {
    let field = |field: &str| -> Result<String, BuildError> {
        let output = program("dpkg-deb", SHORT)
            .arg("-f")
            .arg(deb)
            .arg(field)
            .run_cancellable(cancel)
            .map_err(|source| BuildError::Program { action: "read the kernel package", source })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(PackageVersion { name: field("Package")?, version: field("Version")? })
}

/// The first entry of a directory, by name, that fits.
fn only_entry(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<Option<PathBuf>, BuildError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let path = entry.doing("list", dir)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(&fits) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read_from_the_meta_packages_dependencies() {
        let answer = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-18-cloud-amd64\n";
        assert_eq!(first_kernel(answer), Some("linux-image-6.1.0-18-cloud-amd64"));
        assert_eq!(first_kernel("linux-image-cloud-amd64\n"), None);
    }
}
