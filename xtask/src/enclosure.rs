//! A private place to run in: a network, a mount table and processes of its own.
//!
//! ```text
//! xtask -> [sudo] -> unshare(1) -> xtask, as process 1 -> xtask, the worker -> daemon, VMs, tests
//! ```
//!
//! Process 1 only collects the dead. When it ends, the kernel kills everything inside, and with the
//! last process the network goes, so nothing of it can stay, whatever happens to the worker. In good
//! order the worker ends first, and by then has removed what is not of the enclosure: loop devices,
//! device-mapper devices, files.

use crate::cmd::Cmd;
use crate::root::told;
use anyhow::{Context, Result, bail};
use rustix::process::{WaitOptions, wait};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long the worker may take to clean up: a VM is stopped, a daemon ended.
const GRACE: Duration = Duration::from_secs(120);

/// How a new enclosure is made: what follows is a program and its arguments.
pub(crate) const MAKE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
/// What xtask is told to do in there first.
pub(crate) const HOLD: &str = "enclosed";

/// Runs `xtask inside <args>` in a new enclosure. It needs root.
pub(crate) fn run<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Result<()> {
    let status = Cmd::new(MAKE[0])
        .args(&MAKE[1..])
        .arg(own_program()?)
        .arg(HOLD)
        .args(args)
        .watches_input()
        .grace(GRACE)
        .status()?;
    told(status, "what ran in the private namespaces")
}

/// Why this machine cannot make an enclosure, if so.
pub(crate) fn obstacle() -> Result<Option<String>> {
    let flags = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "true"];
    if Cmd::new("unshare").args(flags).probe()?.is_none() {
        return Ok(Some("private namespaces cannot be made here (`unshare` fails)".to_owned()));
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Ok(Some("there is no /dev/net/tun; load the kernel module `tun`".to_owned()));
    }
    Ok(None)
}

/// Process 1: starts the worker, collects the dead, ends with the worker's code.
pub(crate) fn hold<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Result<ExitCode> {
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        bail!("this is a part of other tasks, and nothing to be started by hand");
    }
    // What `ip netns exec` does too: /sys shows the network of the process that mounted it.
    Cmd::new("mount").args(["-t", "sysfs", "sysfs", "/sys"]).silent().run()?;
    Cmd::new("ip").args(["link", "set", "lo", "up"]).silent().run()?;
    let worker = Cmd::new(own_program()?).arg("inside").args(args).silent().spawn_heir()?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == worker.pid() => {
                let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the worker"),
        }
    }
}

/// The program that runs now. Its file may have been replaced by a newer build since it started.
pub(crate) fn own_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find xtask's own program")?;
    if path.exists() {
        return Ok(path);
    }
    let text = path.to_string_lossy();
    Ok(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text)))
}
