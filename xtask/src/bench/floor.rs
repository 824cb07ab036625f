//! The hand-written floor: what a careful script would do to start the same VM.
//!
//! It learns everything from a VM that banger has started: QEMU's arguments, the nft table, the
//! parts of the initrd. Then it puts the same objects in place with the distribution's tools, in as
//! few processes as they allow, and starts the same QEMU. It keeps no record and cleans nothing up
//! that was half done.

use super::qmp;
use super::start::{BRIDGE, GATEWAY, NETWORK_PREFIX};
use crate::cmd::{Cmd, Running};
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long QEMU may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How often its socket is tried: as often as banger does.
const TICK: Duration = Duration::from_millis(1);
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// How to start one VM without banger.
#[derive(Debug)]
pub(super) struct Floor {
    qemu: Vec<String>,
    socket: PathBuf,
    initrd: PathBuf,
    /// `initrd` is one after the other.
    parts: [PathBuf; 2],
    links: PathBuf,
    no_links: PathBuf,
    table: PathBuf,
    output: PathBuf,
}

/// A VM that the floor has started. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Started(#[expect(dead_code, reason = "dropping it ends QEMU")] Running);

impl Floor {
    /// Learns how to start the VM from its running QEMU. `dir` is for files of the floor's own,
    /// `shared` the image's initrd, which the VM's begins with.
    pub(super) fn of(vmm: Pid, dir: &Path, shared: &Path) -> Result<Self> {
        let qemu = arguments(vmm)?;
        let socket = PathBuf::from(value(&qemu, "socket,id=control,path=")?);
        let tap = value(&qemu, "tap,id=eth0,ifname=")?.to_owned();
        let initrd = PathBuf::from(following(&qemu, "-initrd")?);
        let file = |name: &str| dir.join(name);
        let floor = Self {
            socket,
            parts: [shared.to_owned(), file("initrd-rest")],
            initrd,
            links: file("links"),
            no_links: file("no-links"),
            table: file("table.nft"),
            output: file("qemu.out"),
            qemu,
        };
        write(&floor.parts[1], rest(&floor.initrd, shared)?)?;
        write(&floor.links, links(&tap)?)?;
        write(&floor.no_links, format!("link delete {tap}\nlink delete {BRIDGE}\n"))?;
        write(&floor.table, Cmd::new("nft").args(["list", "ruleset"]).silent().read()?)?;
        Ok(floor)
    }

    /// The VMM with its version, and how it runs guests.
    pub(super) fn vmm_name(&self) -> Result<String> {
        let program = self.qemu.first().context("the VMM has no arguments")?;
        let said = Cmd::new(program).arg("--version").silent().read()?;
        let name = said.lines().next().unwrap_or_default();
        let name = name.split(" (").next().unwrap_or(name).replace(" emulator version", "");
        let way = match following(&self.qemu, "-accel")? {
            "kvm" => "with KVM",
            _ => "under software emulation",
        };
        Ok(format!("{name} {way}"))
    }

    /// Puts the VM's objects in place: table, bridge, TAP, directory, initrd. Its disks are there.
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

    /// Starts QEMU as `setsid` would, and lets its machine run.
    pub(super) fn launch(&self) -> Result<Started> {
        let [program, args @ ..] = self.qemu.as_slice() else {
            bail!("the VMM has no arguments");
        };
        let qemu = Cmd::new(program).args(args).own_session().silent().spawn_to(&self.output)?;
        let deadline = Instant::now() + START;
        while qmp::cont(&self.socket)?.is_none() {
            if qemu.wait_for(TICK)? || Instant::now() > deadline {
                let said = fs::read_to_string(&self.output).unwrap_or_default();
                bail!("QEMU did not come up; it said: {}", said.trim());
            }
        }
        Ok(Started(qemu))
    }

    /// Removes what [`Floor::prepare`] put in place.
    pub(super) fn clear(&self) -> Result<()> {
        Cmd::new("ip").arg("-batch").arg(&self.no_links).silent().run()?;
        Cmd::new("nft").args(["flush", "ruleset"]).silent().run()?;
        let remove = |path: &Path| {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
        };
        remove(&self.initrd)?;
        remove(&self.socket)?;
        match self.socket.parent() {
            Some(dir) => {
                fs::remove_dir(dir).with_context(|| format!("cannot remove {}", dir.display()))
            }
            None => Ok(()),
        }
    }
}

fn arguments(pid: Pid) -> Result<Vec<String>> {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

/// What follows `start` in one of the arguments, up to a comma.
fn value<'a>(args: &'a [String], start: &str) -> Result<&'a str> {
    args.iter()
        .find_map(|arg| arg.strip_prefix(start)?.split(',').next())
        .with_context(|| format!("QEMU has no argument `{start}…`"))
}

fn following<'a>(args: &'a [String], option: &str) -> Result<&'a str> {
    let mut args = args.iter().skip_while(|arg| *arg != option);
    args.nth(1).map(String::as_str).with_context(|| format!("QEMU has no option `{option}`"))
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

    fn args(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn paths_and_names_are_found_in_the_arguments() {
        let args = args("qemu -initrd /a/initrd -chardev socket,id=control,path=/r/s,server=on");
        assert_eq!(value(&args, "socket,id=control,path=").unwrap(), "/r/s");
        assert_eq!(following(&args, "-initrd").unwrap(), "/a/initrd");
        assert!(value(&args, "tap,").unwrap_err().to_string().contains("tap,"));
        assert!(following(&args, "-kernel").is_err());
    }
}
