//! The hand-written floor on QEMU: what a careful script would do to start the same VM.
//!
//! It learns everything from a VM that banger has started: QEMU's arguments, and what that stands on.
//! Then it puts the same objects in place, and starts the same QEMU. It keeps no record and cleans
//! nothing up that was half done.

use super::arguments::{following, of_process, value};
use super::groundwork::{Footing, Groundwork};
use super::qmp;
use crate::cmd::{Cmd, Running};
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long QEMU may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How often its socket is tried: as often as banger does.
const TICK: Duration = Duration::from_millis(1);

/// How to start one VM without banger.
#[derive(Debug)]
pub(super) struct Floor {
    qemu: Vec<String>,
    ground: Groundwork,
    output: PathBuf,
}

/// A VM that the floor has started. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Started(#[expect(dead_code, reason = "dropping it ends QEMU")] Running);

impl Floor {
    /// Learns how to start the VM from its running QEMU. `dir` is for files of the floor's own,
    /// `shared` the image's initrd, which the VM's begins with.
    pub(super) fn of(vmm: Pid, dir: &Path, shared: &Path) -> Result<Self> {
        let qemu = of_process(vmm)?;
        let footing = Footing {
            tap: value(&qemu, "tap,id=eth0,ifname=")?,
            initrd: Path::new(following(&qemu, "-initrd")?),
            socket: Path::new(value(&qemu, "socket,id=control,path=")?),
        };
        let ground = Groundwork::of(footing, dir, shared)?;
        Ok(Self { ground, output: dir.join("qemu.out"), qemu })
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

    /// Puts the VM's objects in place. Its disks are there.
    pub(super) fn prepare(&self) -> Result<()> {
        self.ground.prepare()
    }

    /// Starts QEMU as `setsid` would, and lets its machine run.
    pub(super) fn launch(&self) -> Result<Started> {
        let [program, args @ ..] = self.qemu.as_slice() else {
            bail!("the VMM has no arguments");
        };
        let qemu = Cmd::new(program).args(args).own_session().silent().spawn_to(&self.output)?;
        let deadline = Instant::now() + START;
        while qmp::cont(self.ground.socket())?.is_none() {
            if qemu.wait_for(TICK)? || Instant::now() > deadline {
                let said = fs::read_to_string(&self.output).unwrap_or_default();
                bail!("QEMU did not come up; it said: {}", said.trim());
            }
        }
        Ok(Started(qemu))
    }

    /// Removes what [`Floor::prepare`] put in place.
    pub(super) fn clear(&self) -> Result<()> {
        self.ground.clear()
    }
}
