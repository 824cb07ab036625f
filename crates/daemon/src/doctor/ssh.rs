//! What entering a VM needs of the daemon: its key. The client looks for the program `ssh`.

use super::Facts;
use crate::config::Key;
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    let hint = if facts.is_set(Key::SshKeyPath) {
        "put the key back with mode 0600; or name another in `ssh_key_path`, or remove that, and \
         `banger daemon restart`"
    } else {
        "put the key back with mode 0600; without one, `banger daemon restart` makes a new key, \
         which each VM knows from its next start on"
    };
    let check = match &facts.key {
        Ok(path) => Check::pass(Scope::Ssh, "key", path.display().to_string()),
        Err(reason) => Check::fail(
            Scope::Ssh,
            "key",
            ErrorCode::Host,
            format!("VMs cannot be entered: {reason}"),
            hint,
        ),
    };
    vec![check.from(facts.origin(Key::SshKeyPath))]
}
