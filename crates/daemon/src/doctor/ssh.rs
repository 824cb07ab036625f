//! What entering a VM needs of the daemon: its key. The client looks for the program `ssh`.

use super::Facts;
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    vec![match &facts.key {
        Ok(path) => Check::pass(Scope::Ssh, "key", path.display().to_string()),
        Err(reason) => Check::fail(
            Scope::Ssh,
            "key",
            ErrorCode::Host,
            format!("VMs cannot be entered: {reason}"),
            "put the key back with mode 0600; without one, `banger daemon restart` makes a new \
             key, which each VM knows from its next start on",
        ),
    }]
}
