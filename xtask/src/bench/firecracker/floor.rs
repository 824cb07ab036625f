//! The hand-written floor on Firecracker: what a careful script would do to start the same VM.
//!
//! It learns everything from a VM that banger has started: the machine from its API, the root disk
//! from device-mapper, and what the VM stands on. It keeps no record and checks nothing.

use super::api::{Api, Put, puts};
use super::console::{Console, wait_for_ssh};
use super::disk::{Attached, RootDisk};
use super::{Boot, Start};
use crate::bench::arguments::{following, of_process};
use crate::bench::client::Vm;
use crate::bench::groundwork::{Footing, Groundwork};
use crate::cmd::{Cmd, Running};
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long Firecracker may take until it listens.
const START: Duration = Duration::from_secs(60);
/// How often its socket is tried: as often as banger does.
const TICK: Duration = Duration::from_millis(1);
/// For the guest to end in good order.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(240);
/// For the kernel to free a guest's memory.
const KILL: Duration = Duration::from_secs(60);

/// How to start one VM without banger.
#[derive(Debug)]
pub(super) struct Floor {
    firecracker: Vec<String>,
    puts: Vec<Put>,
    ground: Groundwork,
    disk: RootDisk,
    ip: Ipv4Addr,
    console: PathBuf,
    log: PathBuf,
}

/// A VM that the floor has started. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Started<'a> {
    floor: &'a Floor,
    // It ends before its disk does.
    vmm: Running,
    disk: Attached<'a>,
    api: Api,
    booted: Instant,
}

impl Floor {
    /// Learns how to start the VM, which runs. `dir` is for files of the floor's own, `shared` the
    /// image's initrd, which the VM's begins with.
    pub(super) fn of(vm: &Vm, dir: &Path, shared: &Path) -> Result<Self> {
        let pid = vm.pid.and_then(Pid::from_raw).context("the VM has no process")?;
        let firecracker = of_process(pid)?;
        let socket = Path::new(following(&firecracker, "--api-sock")?);
        let config = Api::connect(socket)?.context("Firecracker does not listen")?.config()?;
        let text = |value: &Value, what: &str| {
            value.as_str().map(str::to_owned).with_context(|| format!("the machine has no {what}"))
        };
        let initrd = text(&config["boot-source"]["initrd_path"], "initrd")?;
        let tap = text(&config["network-interfaces"][0]["host_dev_name"], "TAP")?;
        let root = text(&config["drives"][0]["path_on_host"], "root disk")?;
        let footing = Footing { tap: &tap, initrd: Path::new(&initrd), socket };
        Ok(Self {
            puts: puts(&config)?,
            ground: Groundwork::of(footing, dir, shared)?,
            disk: RootDisk::of(Path::new(&root), dir)?,
            ip: vm.ip,
            console: dir.join("console"),
            log: dir.join("firecracker.log"),
            firecracker,
        })
    }

    /// The VMM with its version.
    pub(super) fn vmm_name(&self) -> Result<String> {
        let program = self.firecracker.first().context("the VMM has no arguments")?;
        let said = Cmd::new(program).arg("--version").silent().read()?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    }

    /// Starts the VM from nothing but its disks' files.
    pub(super) fn start(&self) -> Result<(Started<'_>, Start)> {
        let begin = Instant::now();
        let disk = self.disk.attach()?;
        self.ground.prepare()?;
        let prepared = Instant::now();
        let (vmm, mut api) = self.spawn()?;
        let spawned = Instant::now();
        self.puts.iter().try_for_each(|put| api.put(put))?;
        let booted = Instant::now();
        let start = Start {
            host: prepared - begin,
            vmm: spawned - prepared,
            api: booted - spawned,
            whole: booted - begin,
        };
        Ok((Started { floor: self, vmm, disk, api, booted }, start))
    }

    /// Starts Firecracker as `setsid` would, until its socket takes a connection.
    fn spawn(&self) -> Result<(Running, Api)> {
        let [program, args @ ..] = self.firecracker.as_slice() else {
            bail!("the VMM has no arguments");
        };
        let cmd = Cmd::new(program).args(args).own_session().silent();
        let vmm = cmd.spawn_to_two(&self.console, &self.log)?;
        let deadline = Instant::now() + START;
        loop {
            if let Some(api) = Api::connect(self.ground.socket())? {
                return Ok((vmm, api));
            }
            if vmm.wait_for(TICK)? || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("Firecracker did not come up; it said: {}", said.trim());
            }
        }
    }

    /// Removes what a start that failed has left of the network and the files.
    pub(super) fn clear(&self) -> Result<()> {
        self.ground.clear()
    }
}

impl Started<'_> {
    /// Waits until sshd answers.
    pub(super) fn wait_until_ssh(&mut self) -> Result<Boot> {
        let uptimes = Console::open(&self.floor.console)?.wait_for_init(&self.vmm)?;
        let init = self.booted.elapsed();
        wait_for_ssh(self.floor.ip, &self.vmm)?;
        let ssh = self.booted.elapsed();
        Ok(Boot { banger_init: init.saturating_sub(uptimes.of_init()), init, ssh })
    }

    /// Asks the guest to end, waits until it has, and removes what it stood on.
    pub(super) fn shut_down(mut self) -> Result<()> {
        self.api.put(&Put::end())?;
        let deadline = Instant::now() + SHUTDOWN;
        while !self.vmm.wait_for(Duration::from_millis(200))? {
            crate::interrupt::check()?;
            if Instant::now() > deadline {
                bail!("the guest does not end");
            }
        }
        self.clear()
    }

    /// Ends the VM, and removes what it stood on.
    pub(super) fn kill(self) -> Result<()> {
        self.clear()
    }

    fn clear(self) -> Result<()> {
        // Firecracker takes SIGTERM as everybody does who has made no arrangements: it ends.
        self.vmm.stop(KILL)?;
        self.disk.detach()?;
        self.floor.clear()
    }
}
