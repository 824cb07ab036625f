//! What names an object among those of an instance: its role, and the VM or image that it belongs to.

use super::Gatekeeper;
use crate::id::{ImageId, VmId};
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
    /// What has iptables over nf_tables let guests through.
    PermitNft,
    /// The same for iptables as it was before.
    PermitLegacy,
    /// The same for firewalld.
    PermitFirewalld,
    /// The directory of an image that is being made.
    ImageDraft,
    /// The directory of a managed image.
    ImageDir,
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
    pub const ALL: [Self; 17] = [
        Self::Bridge,
        Self::Firewall,
        Self::PermitNft,
        Self::PermitLegacy,
        Self::PermitFirewalld,
        Self::ImageDraft,
        Self::ImageDir,
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
            Self::PermitNft => "permit_nft",
            Self::PermitLegacy => "permit_legacy",
            Self::PermitFirewalld => "permit_firewalld",
            Self::ImageDraft => "image_draft",
            Self::ImageDir => "image_dir",
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
        self.is_permit() || matches!(self, Self::Bridge | Self::Firewall)
    }

    /// Whether the object is what has a firewall of somebody else's let guests through.
    pub const fn is_permit(self) -> bool {
        matches!(self, Self::PermitNft | Self::PermitLegacy | Self::PermitFirewalld)
    }

    /// Whether the object belongs to an image.
    pub const fn is_of_image(self) -> bool {
        matches!(self, Self::ImageDraft | Self::ImageDir)
    }

    /// Whether objects of that role have such an owner.
    const fn fits(self, owner: &Owner) -> bool {
        match owner {
            Owner::Instance => self.is_shared(),
            Owner::Image(_) => self.is_of_image(),
            Owner::Vm(_) => !self.is_shared() && !self.is_of_image(),
        }
    }

    /// Whether other objects of the VM live in this one and go with it.
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::VmDir | Self::RuntimeDir)
    }

    /// Whether the object stays while nothing runs: what a stopped VM keeps, and whole images.
    pub const fn persists(self) -> bool {
        matches!(
            self,
            Self::ImageDir
                | Self::VmDir
                | Self::RootClone
                | Self::RootCow
                | Self::RootTail
                | Self::WorkDisk
        )
    }
}

/// Whom an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The instance: all its VMs share the object.
    Instance,
    /// One VM.
    Vm(VmId),
    /// One image.
    Image(ImageId),
}

/// Which object of the instance: a role, and whose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceKey {
    owner: Owner,
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
    /// If the role is no VM's: a mistake in the program.
    pub fn of_vm(vm: &VmId, role: Role) -> Self {
        Self::new(Owner::Vm(vm.clone()), role)
    }

    /// The key of an object of one image.
    ///
    /// # Panics
    ///
    /// If the role is no image's: a mistake in the program.
    pub fn of_image(image: &ImageId, role: Role) -> Self {
        Self::new(Owner::Image(image.clone()), role)
    }

    /// The key of an object with this role.
    pub(super) fn new(owner: Owner, role: Role) -> Self {
        assert!(role.fits(&owner), "{role:?} does not belong to {owner:?}");
        Self { owner, role }
    }

    /// The key of the bridge.
    pub const BRIDGE: Self = Self { owner: Owner::Instance, role: Role::Bridge };
    /// The key of the nft tables.
    pub const FIREWALL: Self = Self { owner: Owner::Instance, role: Role::Firewall };

    /// The key of what has a gatekeeper let guests through.
    pub const fn of_permit(gatekeeper: Gatekeeper) -> Self {
        Self { owner: Owner::Instance, role: gatekeeper.role() }
    }

    /// Whom the object belongs to.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The VM, if the object is a VM's.
    pub fn vm(&self) -> Option<&VmId> {
        match &self.owner {
            Owner::Vm(vm) => Some(vm),
            Owner::Instance | Owner::Image(_) => None,
        }
    }

    /// What the object is for.
    pub fn role(&self) -> Role {
        self.role
    }
}

impl fmt::Display for ResourceKey {
    /// `vm/<id>/tap`, `image/<id>/image_dir`, `instance/bridge`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.as_str();
        match &self.owner {
            Owner::Instance => write!(f, "instance/{role}"),
            Owner::Vm(vm) => write!(f, "vm/{vm}/{role}"),
            Owner::Image(image) => write!(f, "image/{image}/{role}"),
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
        let parts = match text.split('/').collect::<Vec<_>>().as_slice() {
            ["instance", word] => Some((Owner::Instance, role(word))),
            ["vm", id, word] => id.parse().ok().map(|id| (Owner::Vm(id), role(word))),
            ["image", id, word] => id.parse().ok().map(|id| (Owner::Image(id), role(word))),
            _ => None,
        };
        match parts {
            Some((owner, Some(role))) if role.fits(&owner) => Ok(Self { owner, role }),
            _ => Err(KeyError { text: text.to_owned() }),
        }
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
