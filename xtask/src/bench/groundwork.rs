//! The part of a hand-written floor that is the same for every VMM: network, run-time directory,
//! initrd.
//!
//! It is learned from a VM that banger has started, and put in place with the distribution's tools,
//! in as few processes as they allow.

use crate::cmd::Cmd;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The network that this is written for, whatever the defaults become.
pub(super) const NETWORK: &str = "bridge = \"banger0\"\nsubnet = \"172.16.0.1/24\"\n";
const BRIDGE: &str = "banger0";
const GATEWAY: &str = "172.16.0.1";
const NETWORK_PREFIX: u8 = 24;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What a VM stands on but for its disks, and what its VMM is told about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Footing<'a> {
    pub(super) tap: &'a str,
    pub(super) initrd: &'a Path,
    /// The VMM's control socket, in the VM's run-time directory.
    pub(super) socket: &'a Path,
}

/// How to put that in place without banger.
#[derive(Debug)]
pub(super) struct Groundwork {
    socket: PathBuf,
    initrd: PathBuf,
    /// `initrd` is one after the other.
    parts: [PathBuf; 2],
    links: PathBuf,
    no_links: PathBuf,
    table: PathBuf,
}

impl Groundwork {
    /// Learns it from a VM that runs. `dir` is for files of the floor's own, `shared` the image's
    /// initrd, which the VM's begins with.
    pub(super) fn of(footing: Footing<'_>, dir: &Path, shared: &Path) -> Result<Self> {
        let Footing { tap, initrd, socket } = footing;
        let file = |name: &str| dir.join(name);
        let ground = Self {
            socket: socket.to_owned(),
            parts: [shared.to_owned(), file("initrd-rest")],
            initrd: initrd.to_owned(),
            links: file("links"),
            no_links: file("no-links"),
            table: file("table.nft"),
        };
        write(&ground.parts[1], rest(initrd, shared)?)?;
        write(&ground.links, links(tap)?)?;
        write(&ground.no_links, format!("link delete {tap}\nlink delete {BRIDGE}\n"))?;
        write(&ground.table, Cmd::new("nft").args(["list", "ruleset"]).silent().read()?)?;
        Ok(ground)
    }

    /// The VMM's control socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Puts the VM's objects in place: table, bridge, TAP, directory, initrd.
    pub(super) fn prepare(&self) -> Result<()> {
        write(Path::new(IP_FORWARD), "1")?;
        Cmd::new("nft").arg("-f").arg(&self.table).silent().run()?;
        Cmd::new("ip").arg("-batch").arg(&self.links).silent().run()?;
        let ipv6 = format!("/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6");
        if Path::new(&ipv6).exists() {
            write(Path::new(&ipv6), "1")?;
        }
        if let Some(dir) = self.socket.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.with_context(|| format!("cannot create {}", dir.display()))?;
        }
        // `cat` writes to the file that is its standard output.
        Cmd::new("cat").args(&self.parts).silent().run_to(&self.initrd)
    }

    /// Removes what [`Groundwork::prepare`] put in place, all that can be removed of it.
    pub(super) fn clear(&self) -> Result<()> {
        let links = Cmd::new("ip").arg("-batch").arg(&self.no_links).silent().run();
        let table = Cmd::new("nft").args(["flush", "ruleset"]).silent().run();
        let remove = |path: &Path| {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
        };
        let files = remove(&self.initrd).and(remove(&self.socket));
        let dir = self.socket.parent().map_or(Ok(()), |dir| {
            fs::remove_dir(dir).with_context(|| format!("cannot remove {}", dir.display()))
        });
        links.and(table).and(files).and(dir)
    }
}

/// What follows the image's initrd in the VM's.
fn rest(initrd: &Path, shared: &Path) -> Result<Vec<u8>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (whole, first) = (read(initrd)?, read(shared)?);
    let rest = whole.strip_prefix(first.as_slice());
    Ok(rest.context("the VM's initrd does not begin with the image's")?.to_owned())
}

/// What `ip -batch` does to make the bridge and the TAP as banger has made them.
fn links(tap: &str) -> Result<String> {
    let read = |file: &str| {
        let path = format!("/sys/class/net/{BRIDGE}/{file}");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"));
        text.map(|text| text.trim().to_owned())
    };
    let (mac, alias) = (read("address")?, read("ifalias")?);
    Ok(format!(
        "link add {BRIDGE} address {mac} type bridge\n\
         link set {BRIDGE} alias {alias}\n\
         address add {GATEWAY}/{NETWORK_PREFIX} broadcast + dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         tuntap add dev {tap} mode tap vnet_hdr\n\
         link set {tap} master {BRIDGE} up\n"
    ))
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_initrd_that_begins_with_the_images_has_a_rest() {
        let dir = std::env::temp_dir().join(format!("xtask-ground-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (whole, first) = (dir.join("whole"), dir.join("first"));
        fs::write(&whole, "imageconfig").unwrap();
        fs::write(&first, "image").unwrap();
        assert_eq!(rest(&whole, &first).unwrap(), b"config");
        assert!(rest(&first, &whole).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
