//! What the import of an image needs: a source that can be read, a program, privileges, room.
//!
//! Archives and container images are read by banger itself; no other program is needed for them.

use super::disk::{LEAST_ROOM, MORE_ROOM, mke2fs, unknown_room};
use super::vm::privileges;
use super::{Facts, SourceFacts, Unread};
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;
use banger_core::unit::Bytes;

const SCOPE: Scope = Scope::Import;
/// What an import needs root for.
const OWNERS: &str = "may not make files of other owners, as a root file system has";

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = facts.sources.iter().map(source).collect();
    checks.push(mke2fs(SCOPE, "no root file system can be written", facts));
    checks.extend([privileges(SCOPE, OWNERS, facts), room(facts)]);
    checks
}

fn source(source: &SourceFacts) -> Check {
    let SourceFacts { role, path, read } = source;
    let path = path.display();
    match read {
        Ok(_) => Check::pass(SCOPE, role, path.to_string()),
        Err(Unread::Missing) => Check::fail(
            SCOPE,
            role,
            ErrorCode::InvalidRequest,
            format!("`{path}` does not exist"),
            "the daemon reads the path, on the machine that it runs on",
        ),
        Err(Unread::Refused(reason)) => Check::fail(
            SCOPE,
            role,
            ErrorCode::NotPermitted,
            format!("`{path}` cannot be read: {reason}"),
            "let the daemon's user read it, or give a copy",
        ),
    }
}

/// Whether there is room for what is unpacked: most archives take as much as they measure at least. But
/// one of a container image may have several machines' in it; and how much a directory takes is not known
/// before it was read.
fn room(facts: &Facts) -> Check {
    let archive = facts.sources.iter().filter_map(|source| source.read.clone().ok().flatten());
    let archive = Bytes(archive.map(|bytes| bytes.0).sum());
    match &facts.host.room {
        Ok(room) if *room < LEAST_ROOM => {
            let found = format!("{room} are left, and an import needs {LEAST_ROOM} at least");
            Check::fail(SCOPE, "room", ErrorCode::NoSpace, found, MORE_ROOM)
        }
        Ok(room) if *room < archive => {
            let found = format!("{room} are left, and what is to be imported measures {archive}");
            Check::warn(SCOPE, "room", found, MORE_ROOM)
        }
        Ok(room) => Check::pass(SCOPE, "room", format!("{room} are left for images")),
        Err(reason) => unknown_room(SCOPE, reason),
    }
}
