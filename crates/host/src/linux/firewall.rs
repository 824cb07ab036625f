//! The instance's nft tables: which guest reaches what.
//!
//! There are two of one name: one in family `ip` for what the host routes, and one in family
//! `bridge` that holds each guest to its own addresses. They are rendered from the set of guests
//! and replaced in one transaction, so no packet ever meets half of them. Their comment is a
//! fingerprint of the rules; tables with the right one are left alone. Rules that somebody edits
//! inside a table are therefore not seen; a table that somebody deleted is.
//!
//! An `accept` here cannot undo a `drop` in another table (nft evaluates every base chain): a host
//! whose own FORWARD policy is `drop` has to let the bridge through itself.

mod rules;

pub(super) use rules::Rules;

use super::nftable::{self, Table};
use crate::cmd::{Cmd, CmdError};
use crate::facts::BRIDGE_FILTER_REMEDY;
use crate::{Change, HostError};
use banger_core::names::TableName;
use std::fs;
use std::io;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Puts the tables in place. With a guest that has NAT in them, the host is made to forward IPv4,
/// which is never undone: others may have come to rely on it.
pub(super) fn ensure(rules: &Rules<'_>) -> Result<Change, HostError> {
    let table = rules.table;
    let comment = rules.fingerprint();
    let forwarding = if rules.has_nat() { ensure_forwarding()? } else { Change::Unchanged };
    let found = find(table).map_err(looking(table))?;
    if found.iter().all(|found| is_marked(found.as_ref(), &comment)) {
        return Ok(forwarding);
    }
    if found.iter().any(Option::is_some) {
        replace(rules, &comment)?;
        return Ok(Change::Changed);
    }
    match apply(&rules.render_creation(&comment)) {
        // Somebody was quicker; the rules still have to be these.
        Err(_) if is_there(table).map_err(looking(table))? => replace(rules, &comment)?,
        made => made.map_err(failed("make the nft tables", table))?,
    }
    Ok(Change::Changed)
}

/// Removes the tables.
pub(super) fn remove(table: &TableName) -> Result<Change, HostError> {
    let found = find(table).map_err(looking(table))?;
    let there: Vec<&str> = rules::FAMILIES
        .into_iter()
        .zip(&found)
        .filter_map(|((family, _), found)| found.as_ref().map(|_| family))
        .collect();
    if there.is_empty() {
        return Ok(Change::Unchanged);
    }
    let script: String =
        there.into_iter().map(|family| rules::render_absence(family, table)).collect();
    apply(&script).map_err(failed("delete the nft tables", table))?;
    Ok(Change::Changed)
}

/// Whether any of the tables is there.
pub(super) fn is_there(table: &TableName) -> io::Result<bool> {
    Ok(find(table)?.iter().any(Option::is_some))
}

/// Whether the kernel filters what crosses a bridge; else the reason, as a clause. Where nft can do
/// nothing at all, the bridge is not what is amiss, and the answer is yes.
pub(crate) fn bridge_filter() -> Result<(), String> {
    let check = |family| {
        let probe = rules::render_probe(family).into_bytes();
        Cmd::new("nft").args(["--check", "-f", "-"]).stdin_bytes(probe).run()
    };
    match (check("bridge"), check("ip")) {
        (Err(error), Ok(_)) => {
            let said = error.stderr_tail().and_then(|tail| tail.lines().next());
            Err(said.map_or_else(|| error.to_string(), str::to_owned))
        }
        _ => Ok(()),
    }
}

fn is_marked(table: Option<&Table>, comment: &str) -> bool {
    table.is_some_and(|table| table.comment.as_deref() == Some(comment))
}

fn find(table: &TableName) -> io::Result<[Option<Table>; 2]> {
    let [(_, first), (_, second)] = rules::FAMILIES;
    Ok([nftable::find(first, table.as_str())?, nftable::find(second, table.as_str())?])
}

fn looking(table: &TableName) -> impl FnOnce(io::Error) -> HostError {
    HostError::io("look at the nft tables", table)
}

fn replace(rules: &Rules<'_>, comment: &str) -> Result<(), HostError> {
    apply(&rules.render_replacement(comment)).map_err(failed("replace the nft tables", rules.table))
}

fn apply(script: &str) -> Result<(), CmdError> {
    Cmd::new("nft").args(["-f", "-"]).stdin_bytes(script.as_bytes().to_vec()).run().map(drop)
}

/// Names what the kernel lacks, where it is that: without the guards one guest could pass for
/// another, so nothing is done by halves.
fn failed(action: &'static str, table: &TableName) -> impl FnOnce(CmdError) -> HostError {
    move |source| match (&source, bridge_filter()) {
        (CmdError::Failed { .. }, Err(reason)) => HostError::Unavailable {
            feature: "the nftables filter for bridges",
            reason,
            remedy: BRIDGE_FILTER_REMEDY,
        },
        _ => HostError::program(action, table)(source),
    }
}

fn ensure_forwarding() -> Result<Change, HostError> {
    let is = fs::read_to_string(IP_FORWARD).map_err(HostError::io("read", IP_FORWARD))?;
    if is.trim() != "0" {
        return Ok(Change::Unchanged);
    }
    fs::write(IP_FORWARD, "1").map_err(HostError::io("enable forwarding in", IP_FORWARD))?;
    tracing::info!("IPv4 forwarding is now on");
    Ok(Change::Changed)
}
