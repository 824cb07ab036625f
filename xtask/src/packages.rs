//! The Debian packages that building, running and testing need.

use crate::cmd::Cmd;
use anyhow::{Context, Result, bail};

/// A package, with what it is for.
pub(crate) type Package = (&'static str, &'static str);

/// The packages, with what each is for.
const PACKAGES: [Package; 18] = [
    ("apt", "fetches the kernel's package for the bundle"),
    ("bind9-dnsutils", "has `dig`, which asks the DNS server"),
    ("curl", "asks guests by name in tests"),
    ("dmsetup", "layers root disks"),
    ("e2fsprogs", "makes file systems"),
    ("g++", "compiles libFuzzer"),
    ("gcc", "links the programs"),
    ("iproute2", "sets up the private network namespace"),
    ("iptables", "lays other firewalls in the host tests"),
    ("kmod", "lists the kernel's modules for the bundle"),
    ("libc6-dev", "is linked into banger-init"),
    ("mmdebstrap", "installs the bundle's root file system"),
    ("nftables", "gives VMs their way out"),
    ("openssh-client", "enters VMs"),
    ("qemu-system-x86", "runs VMs where KVM cannot"),
    ("skopeo", "copies container images for tests"),
    ("umoci", "makes container images for tests"),
    ("util-linux", "makes private namespaces"),
];

/// What helps when apt fails.
const REMEDY: &str = "check that the Debian archive can be reached and that you may use sudo";

/// Installs those that are missing.
pub(crate) fn install() -> Result<()> {
    install_with(&[])
}

/// Installs those that are missing, and the same for more, which only some tasks need.
pub(crate) fn install_with(more: &[Package]) -> Result<()> {
    let wanted = [&PACKAGES, more].concat();
    let missing = missing(&wanted)?;
    let present = wanted.len() - missing.len();
    if missing.is_empty() {
        eprintln!("all {present} Debian packages are there");
        return Ok(());
    }
    eprintln!("{present} Debian packages are there; installing {}:", missing.len());
    for (name, purpose) in &missing {
        eprintln!("  {name}: {purpose}");
    }
    refresh()?;
    let names = missing.iter().map(|(name, _)| *name);
    let args: Vec<_> =
        ["install", "--yes", "--no-install-recommends"].into_iter().chain(names).collect();
    apt(&args).context(REMEDY)
}

/// Has apt read what the archive has now.
pub(crate) fn refresh() -> Result<()> {
    apt(&["update"]).context(REMEDY)
}

fn apt(args: &[&str]) -> Result<()> {
    // Through env(1), since sudo keeps no variables.
    Cmd::as_root("env")
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Dpkg::Use-Pty=0"])
        .args(args)
        .run()
}

fn missing(wanted: &[Package]) -> Result<Vec<Package>> {
    let names = wanted.iter().map(|(name, _)| *name);
    let query = Cmd::new("dpkg-query").args(["-W", "-f", "${Package} ${db:Status-Status}\\n"]);
    // It fails when it does not know one of them, and says the others all the same.
    let known = query.args(names).read_anyway();
    let Ok(known) = known else {
        bail!("this is no Debian: there is no `dpkg-query`; Debian 12 is what is supported");
    };
    Ok(wanted.iter().copied().filter(|(name, _)| !is_installed(&known, name)).collect())
}

fn is_installed(known: &str, name: &str) -> bool {
    known.lines().any(|line| line.split_once(' ') == Some((name, "installed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_was_removed_is_not_installed() {
        let known = "kmod installed\ndmsetup config-files\n";
        assert!(is_installed(known, "kmod"));
        assert!(!is_installed(known, "dmsetup"));
        assert!(!is_installed(known, "mod"));
    }
}
