//! What disks need: the way in which they are layered, the programs for it, and room.

use super::{Disks, Facts};
use crate::config::Key;
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;
use banger_core::unit::Bytes;
use banger_core::vm::OverlayMethod;
use std::path::Path;

const SCOPE: Scope = Scope::Disk;

/// With less room no VM is begun: its initrd alone takes some of this.
pub(super) const LEAST_ROOM: Bytes = Bytes(16 << 20);
/// With less room a VM that is used for anything soon runs out of it.
const LITTLE_ROOM: Bytes = Bytes(2 << 30);
/// What helps where there is too little.
pub(super) const MORE_ROOM: &str = "free some room, delete VMs with `banger vm delete`, or set \
                                    `BANGER_STATE_DIR` to another file system";

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![overlay(facts)];
    if facts.demand.disks == Disks::New {
        checks.extend([mke2fs(SCOPE, "no work disk can be made", facts), room(facts)]);
    }
    checks
}

fn overlay(facts: &Facts) -> Check {
    let origin = facts.origin(Key::Overlay);
    match (&facts.host.device_mapper, facts.demand.overlay) {
        (Err(reason), OverlayMethod::DmSnapshot) => Check::fail(
            SCOPE,
            "overlay",
            ErrorCode::MissingDependency,
            format!("root disks over a dm-snapshot need device-mapper: {reason}"),
            device_mapper_hint(facts),
        ),
        _ => {
            let choice = &facts.overlay_choice;
            Check::pass(SCOPE, "overlay", format!("{}: {}", choice.chosen, choice.because))
        }
    }
    .from(origin)
}

fn device_mapper_hint(facts: &Facts) -> String {
    let install = facts.host.distribution.install(Path::new("dmsetup"));
    format!(
        "where `dmsetup` is missing, {install}; load the modules with `modprobe -a dm_snapshot \
         loop`; new VMs do without after `overlay = \"copy\"` is set"
    )
}

/// Whether file systems can be made; `without` says what cannot be had without them.
pub(super) fn mke2fs(scope: Scope, without: &str, facts: &Facts) -> Check {
    match &facts.host.mke2fs {
        Some(path) => Check::pass(scope, "mke2fs", path.display().to_string()),
        None => Check::fail(
            scope,
            "mke2fs",
            ErrorCode::MissingDependency,
            format!("{without}: there is no program `mke2fs`"),
            facts.host.distribution.install(Path::new("mke2fs")),
        ),
    }
}

fn room(facts: &Facts) -> Check {
    match &facts.host.room {
        Ok(room) if *room < LEAST_ROOM => {
            let found = format!("{room} are left for disks, and a VM needs at least {LEAST_ROOM}");
            Check::fail(SCOPE, "room", ErrorCode::NoSpace, found, MORE_ROOM)
        }
        Ok(room) if *room < LITTLE_ROOM => {
            Check::warn(SCOPE, "room", format!("only {room} are left for disks"), MORE_ROOM)
        }
        Ok(room) => Check::pass(SCOPE, "room", format!("{room} are left for disks")),
        Err(reason) => unknown_room(SCOPE, reason),
    }
}

/// What is said where nobody knows how much room there is.
pub(super) fn unknown_room(scope: Scope, reason: &str) -> Check {
    let found = format!("it is not known how much room is left: {reason}");
    Check::warn(scope, "room", found, "see that the state directory can be reached")
}
