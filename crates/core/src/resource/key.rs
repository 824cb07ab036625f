//! What names an object among those of an instance: its role, and the VM that it belongs to.

use crate::id::VmId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an object is for. The order is the order in which a start puts them in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The instance's bridge.
    Bridge,
    /// The instance's nft tables.
    #[serde(alias = "nat_table")]
    Firewall,
    /// The VM's directory.
    VmDir,
    /// The VM's runtime directory.
    RuntimeDir,
    /// The root disk as a clone.
    RootClone,
    /// The root disk's copy-on-write store.
    RootCow,
    /// What the root disk has beyond the image's end.
    RootTail,
    /// The work disk.
    WorkDisk,
    /// The root disk as a snapshot device.
    RootSnapshot,
    /// The boot initrd.
    Initrd,
    /// The TAP.
    Tap,
    /// The VMM.
    Vmm,
}

impl Role {
    /// Every role, in start order.
    pub const ALL: [Self; 12] = [
        Self::Bridge,
        Self::Firewall,
        Self::VmDir,
        Self::RuntimeDir,
        Self::RootClone,
        Self::RootCow,
        Self::RootTail,
        Self::WorkDisk,
        Self::RootSnapshot,
        Self::Initrd,
        Self::Tap,
        Self::Vmm,
    ];

    /// The role's word in a key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Firewall => "firewall",
            Self::VmDir => "vm_dir",
            Self::RuntimeDir => "runtime_dir",
            Self::RootClone => "root_clone",
            Self::RootCow => "root_cow",
            Self::RootTail => "root_tail",
            Self::WorkDisk => "work_disk",
            Self::RootSnapshot => "root_snapshot",
            Self::Initrd => "initrd",
            Self::Tap => "tap",
            Self::Vmm => "vmm",
        }
    }

    /// Whether all VMs of the instance share the object.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Bridge | Self::Firewall)
    }

    /// Whether other objects of the VM live in this one and go with it.
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::VmDir | Self::RuntimeDir)
    }

    /// Whether a stopped VM keeps the object.
    pub const fn persists(self) -> bool {
        matches!(
            self,
            Self::VmDir | Self::RootClone | Self::RootCow | Self::RootTail | Self::WorkDisk
        )
    }
}

/// Which object of the instance: a role, and the VM for a role that is not shared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceKey {
    vm: Option<VmId>,
    role: Role,
}

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the key of a resource")]
pub struct KeyError {
    /// The text that was refused.
    pub text: String,
}

impl ResourceKey {
    /// The key of an object of one VM.
    ///
    /// # Panics
    ///
    /// If the role is shared: a mistake in the program.
    pub fn of_vm(vm: &VmId, role: Role) -> Self {
        assert!(!role.is_shared(), "{role:?} belongs to no single VM");
        Self { vm: Some(vm.clone()), role }
    }

    /// The key of an object with this role, of the VM if there is one.
    pub(super) fn new(vm: Option<&VmId>, role: Role) -> Self {
        debug_assert_eq!(role.is_shared(), vm.is_none());
        Self { vm: vm.cloned(), role }
    }

    /// The key of the bridge.
    pub const BRIDGE: Self = Self { vm: None, role: Role::Bridge };
    /// The key of the nft tables.
    pub const FIREWALL: Self = Self { vm: None, role: Role::Firewall };

    /// The VM, unless the object is shared.
    pub fn vm(&self) -> Option<&VmId> {
        self.vm.as_ref()
    }

    /// What the object is for.
    pub fn role(&self) -> Role {
        self.role
    }
}

impl fmt::Display for ResourceKey {
    /// `vm/<id>/tap`, `instance/bridge`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vm {
            Some(vm) => write!(f, "vm/{vm}/{}", self.role.as_str()),
            None => write!(f, "instance/{}", self.role.as_str()),
        }
    }
}

impl FromStr for ResourceKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let role = |word: &str| match word {
            // Its name while it was no more than that; a simulator's file may still have it.
            "nat_table" => Some(Role::Firewall),
            _ => Role::ALL.into_iter().find(|role| role.as_str() == word),
        };
        let key = match text.split('/').collect::<Vec<_>>().as_slice() {
            ["instance", word] => role(word).map(|role| Self { vm: None, role }),
            ["vm", id, word] => {
                id.parse().ok().and_then(|id| role(word).map(|role| Self { vm: Some(id), role }))
            }
            _ => None,
        };
        key.filter(|key| key.role.is_shared() == key.vm.is_none())
            .ok_or_else(|| KeyError { text: text.to_owned() })
    }
}

impl TryFrom<String> for ResourceKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<ResourceKey> for String {
    fn from(key: ResourceKey) -> String {
        key.to_string()
    }
}
