//! `cargo xtask quickstart`: from a fresh Debian to an answer from a VM.
//!
//! ```text
//! packages -> programs -> (root) Firecracker, bundle -> (enclosure) daemon -> VM -> nothing left
//! ```

use crate::bundle::{self, Rebuild};
use crate::daemon::{Daemon, Home};
use crate::leftover::{self, Inventory};
use crate::phases::Phases;
use crate::workspace::{Profile, Workspace};
use crate::{enclosure, firecracker, packages, programs, root};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TASK: &str = "quickstart";
/// For a boot under software emulation on a busy machine.
const VM: Duration = Duration::from_secs(600);
/// How long `banger vm run` may take to delete its VM after Ctrl-C.
const VM_CLEAN_UP: Duration = Duration::from_secs(60);

/// The task, as the user started it.
pub(crate) fn run(workspace: &Workspace, rebuild: Rebuild) -> Result<()> {
    let scratch = workspace.scratch(TASK);
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let _lock = lock(&scratch.join("lock"))?;
    root::ensure_possible()?;
    let phases = Phases::begin(&phases_file(workspace))?;
    phases.time("Debian packages", packages::install)?;
    phases.time("release programs", || programs::build(workspace, Profile::Release))?;
    let flag = (rebuild == Rebuild::Always).then_some("--rebuild-bundle");
    root::run(workspace, ["quickstart"].into_iter().chain(flag))?;
    let answer = answer_file(workspace);
    let answer =
        fs::read_to_string(&answer).with_context(|| format!("cannot read {}", answer.display()))?;
    println!(
        "\nThe guest's answer to `uname -a`:\n\n  {}\n\nTime for each phase:\n",
        answer.trim()
    );
    println!("{}\nNothing is left running.", phases.render()?);
    Ok(())
}

/// The part that needs root, in the machine's own network.
pub(crate) fn run_as_root(workspace: &Workspace, rebuild: Rebuild) -> Result<()> {
    let done = build_and_boot(workspace, rebuild);
    let given = bundle::give_back(workspace);
    done.and(given)
}

fn build_and_boot(workspace: &Workspace, rebuild: Rebuild) -> Result<()> {
    let before = Inventory::of_devices(workspace)?;
    let phases = Phases::resume(&phases_file(workspace));
    let provision =
        phases.time("Firecracker", || firecracker::provide(workspace, Profile::Release))?;
    eprintln!("{provision}");
    let _in_use =
        phases.time("runtime bundle", || bundle::ensure(workspace, Profile::Release, rebuild))?;
    let enclosed = enclosure::run([TASK]);
    let left = before.left_since()?;
    enclosed?;
    if !left.is_empty() {
        bail!("something is left on the machine:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// The part in the private namespaces.
pub(crate) fn run_inside(workspace: &Workspace) -> Result<()> {
    let phases = Phases::resume(&phases_file(workspace));
    let links = Inventory::of_links()?;
    let mut home = Home::new(workspace, TASK, Profile::Release);
    if let Some(binary) = firecracker::fetched(workspace)? {
        home = home.configured(firecracker::config(&binary)?);
    }
    let daemon = phases.time("daemon", || Daemon::start(home))?;
    let ran = phases.time("VM: boot, run, delete", || run_vm(&daemon, &answer_file(workspace)));
    let emptied = remove_vms(&daemon);
    let stopped = phases.time("daemon stop", || daemon.stop());
    ran?;
    emptied?;
    stopped?;
    let mut left = leftover::processes()?;
    left.extend(links.left_since()?);
    if !left.is_empty() {
        bail!("something is still there:\n  {}", left.join("\n  "));
    }
    Ok(())
}

fn run_vm(daemon: &Daemon, answer: &Path) -> Result<()> {
    let vmm = daemon.status()?.vmm;
    eprintln!("VMs run on {}: {}", vmm.chosen, vmm.because);
    let run = daemon.banger().args(["vm", "run", "--rm", "--timeout", "300", "--", "uname", "-a"]);
    let text = run.timeout(VM).grace(VM_CLEAN_UP).read()?;
    fs::write(answer, text).with_context(|| format!("cannot write {}", answer.display()))
}

/// Deletes what an interrupted run has left, this one or one before.
fn remove_vms(daemon: &Daemon) -> Result<()> {
    #[derive(Deserialize)]
    struct List {
        vms: Vec<Vm>,
    }
    #[derive(Deserialize)]
    struct Vm {
        id: String,
    }
    let text = daemon.banger().args(["--json", "vm", "list"]).silent().clean_up().read()?;
    let list: List = serde_json::from_str(&text).context("cannot understand the list of VMs")?;
    if list.vms.is_empty() {
        return Ok(());
    }
    let ids = list.vms.iter().map(|vm| &vm.id);
    daemon.banger().args(["vm", "delete"]).args(ids).clean_up().timeout(VM_CLEAN_UP).run()
}

fn lock(path: &Path) -> Result<File> {
    let lock = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("another quickstart is at work in this workspace: wait until it has ended")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn phases_file(workspace: &Workspace) -> PathBuf {
    workspace.scratch(TASK).join("phases")
}

fn answer_file(workspace: &Workspace) -> PathBuf {
    workspace.scratch(TASK).join("answer")
}
