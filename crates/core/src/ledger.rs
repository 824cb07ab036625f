//! Comparing what should be on the host with what is.
//!
//! The ledger gets a resource's row before the host gets the object, and loses it after the object
//! is gone. So whatever crashed when, the two differences below say all there is to say.

use crate::resource::{Observed, ResourceKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How ledger and inventory differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// On the host and not in the ledger.
    pub leaked: Vec<Observed>,
    /// In the ledger and not on the host.
    pub missing: Vec<ResourceKey>,
}

impl Audit {
    /// Compares the two, each in any order.
    pub fn new(ledger: &[ResourceKey], inventory: &[Observed]) -> Self {
        let written: BTreeSet<&ResourceKey> = ledger.iter().collect();
        let seen: BTreeSet<&ResourceKey> = inventory.iter().map(|observed| &observed.key).collect();
        Self {
            leaked: inventory.iter().filter(|o| !written.contains(&o.key)).cloned().collect(),
            missing: written.difference(&seen).map(|key| (*key).clone()).collect(),
        }
    }

    /// Whether the two agree.
    pub fn is_clean(&self) -> bool {
        self.leaked.is_empty() && self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::VmId;
    use crate::resource::Role;

    #[test]
    fn both_directions_are_told_apart() {
        let key = |n, role| ResourceKey::of_vm(&VmId::from_entropy(n), role);
        let seen = |key: &ResourceKey| Observed { key: key.clone(), object: String::new() };
        let (both, leaked, missing) = (key(1, Role::Tap), key(2, Role::Tap), key(1, Role::Vmm));
        let audit = Audit::new(&[both.clone(), missing.clone()], &[seen(&both), seen(&leaked)]);
        assert_eq!(audit, Audit { leaked: vec![seen(&leaked)], missing: vec![missing] });
        assert!(!audit.is_clean());
        assert!(Audit::new(std::slice::from_ref(&both), &[seen(&both)]).is_clean());
    }
}
