//! The bridge in firewalld's zone `trusted`, by `firewall-cmd`.
//!
//! firewalld may own its table so that nobody else can change it, and lays it anew at each reload; a
//! zone is the one thing in it that stays ours to set. It is set until firewalld reloads, not for good:
//! what banger forgets to undo ends with that.

use crate::cmd::{Cmd, CmdError};
use crate::{Change, Exit, HostError};
use banger_core::names::IfName;
use std::fs;
use std::io;
use std::path::Path;

const PROGRAM: &str = "firewall-cmd";
const ZONE: &str = "--zone=trusted";

/// `file` says which interface was put into the zone; it is there before the interface is.
pub(super) fn ensure(file: &Path, bridge: &IfName) -> Result<Change, HostError> {
    let before = find(file)?;
    if before.as_deref().is_some_and(|name| name != bridge.as_str()) {
        let _old_one = remove(file)?;
    }
    // Asked once: each question starts an interpreter, and a daemon that starts waits for this.
    let is_in_zone = is_in_zone(bridge.as_str())?;
    if before.as_deref() == Some(bridge.as_str()) && is_in_zone {
        return Ok(Change::Unchanged);
    }
    fs::write(file, bridge.as_str()).map_err(HostError::io("write", file.display()))?;
    if !is_in_zone {
        ask(&[ZONE, &format!("--add-interface={bridge}")])
            .map_err(failed("put into zone `trusted`", bridge))?;
    }
    Ok(Change::Changed)
}

/// Where firewalld does not run, or somebody has taken the interface out, there is nothing to take
/// away.
pub(super) fn remove(file: &Path) -> Result<Change, HostError> {
    let Some(name) = find(file)? else { return Ok(Change::Unchanged) };
    if is_running()? && is_in_zone(&name)? {
        ask(&[ZONE, &format!("--remove-interface={name}")])
            .map_err(failed("take from zone `trusted`", &name))?;
    }
    fs::remove_file(file).map_err(HostError::io("remove", file.display()))?;
    Ok(Change::Changed)
}

/// The interface that was put into the zone.
pub(super) fn find(file: &Path) -> Result<Option<String>, HostError> {
    match fs::read_to_string(file) {
        Ok(name) => Ok(Some(name.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("read", file.display())(error)),
    }
}

fn is_in_zone(name: &str) -> Result<bool, HostError> {
    match ask(&[ZONE, &format!("--query-interface={name}")]) {
        Ok(()) => Ok(true),
        // `no`; every other refusal has another number (firewall-cmd(1)).
        Err(CmdError::Failed { exit: Exit::Code(1), .. }) => Ok(false),
        Err(error) => Err(failed("look for in zone `trusted`", name)(error)),
    }
}

/// What was set goes with firewalld, whose program may be gone as well.
fn is_running() -> Result<bool, HostError> {
    match ask(&["--state"]) {
        Ok(()) => Ok(true),
        // NOT_RUNNING in firewall-cmd(1).
        Err(CmdError::Failed { exit: Exit::Code(252), .. } | CmdError::NotFound { .. }) => {
            Ok(false)
        }
        Err(error) => Err(failed("ask for the state of", "firewalld")(error)),
    }
}

fn ask(args: &[&str]) -> Result<(), CmdError> {
    Cmd::new(PROGRAM).args(args).run().map(drop)
}

fn failed(
    action: &'static str,
    name: impl std::fmt::Display,
) -> impl FnOnce(CmdError) -> HostError {
    HostError::program(action, name)
}
