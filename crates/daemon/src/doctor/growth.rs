//! What a larger work disk needs.
//!
//! It is a sparse file: to grow takes next to no room, and what the guest then writes takes all of it.
//! So a file system that cannot hold a file of that length is a reason against it, and little room is
//! a warning.

use super::disk::{LEAST_ROOM, MORE_ROOM, unknown_room};
use super::{Facts, Growth, LongFile};
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;
use banger_core::unit::Bytes;

const SCOPE: Scope = Scope::Growth;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    length(facts).into_iter().chain([room(facts)]).collect()
}

fn length(facts: &Facts) -> Option<Check> {
    let LongFile { bytes, holds } = facts.long_file.as_ref()?;
    let hint = "give a smaller `--disk-size`, or set `BANGER_STATE_DIR` to another file system";
    Some(match (holds, facts.demand.growth) {
        (Ok(()), _) => Check::pass(SCOPE, "length", format!("a work disk of {bytes} can be had")),
        (Err(reason), Some(_)) => {
            let found = format!("a file cannot measure {bytes} where the disks are: {reason}");
            Check::fail(SCOPE, "length", ErrorCode::NoSpace, found, hint)
        }
        // A smaller one may do.
        (Err(reason), None) => {
            let found = format!("the largest work disk, of {bytes}, cannot be had: {reason}");
            Check::warn(SCOPE, "length", found, hint)
        }
    })
}

fn room(facts: &Facts) -> Check {
    let room = match &facts.host.room {
        Ok(room) => *room,
        Err(reason) => return unknown_room(SCOPE, reason),
    };
    if room < LEAST_ROOM {
        let found =
            format!("{room} are left, and a file system that grows writes up to {LEAST_ROOM}");
        return Check::fail(SCOPE, "room", ErrorCode::NoSpace, found, MORE_ROOM);
    }
    match facts.demand.growth {
        Some(Growth { from, to }) if to.0.saturating_sub(from.0) > room.0 => {
            let more = Bytes(to.0.saturating_sub(from.0));
            let found = format!(
                "the work disk can take {more} more, and {room} are left: the guest's writes fail \
                 when that is used up"
            );
            Check::warn(SCOPE, "room", found, MORE_ROOM)
        }
        _ => Check::pass(SCOPE, "room", format!("{room} are left for disks to grow")),
    }
}
