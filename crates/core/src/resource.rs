//! The one vocabulary of host objects: every object that banger puts on a host is a [`Resource`].
//!
//! A resource is plain data. It holds no value that the kernel hands out (no loop number, no pid):
//! the host finds those again from the names. So the same value serves as plan, as ledger row, as
//! the thing to undo, and as a message to a privileged helper.

use crate::id::VmId;
use crate::names::{DmName, IfName, Layout, TableName};
use crate::net::{GuestIp, Subnet};
use crate::unit::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One object that should exist on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resource {
    /// The directory of what a VM keeps: disks, logs. Mode 0700. Removing it removes what is in it.
    VmDir {
        /// Whose.
        vm: VmId,
        /// Where.
        path: PathBuf,
    },
    /// The directory of what a VM has while it runs: its socket. Mode 0700. Removing it removes
    /// what is in it.
    RuntimeDir {
        /// Whose.
        vm: VmId,
        /// Where.
        path: PathBuf,
    },
    /// A private copy of a file, grown to `size` when that is larger. An existing copy is kept,
    /// and grown if it is smaller; it never shrinks.
    ClonedFile {
        /// Whose.
        vm: VmId,
        /// Where.
        path: PathBuf,
        /// What it is a copy of.
        source: PathBuf,
        /// The least that it measures; a smaller file is extended with a hole.
        size: Bytes,
        /// How the data gets there.
        method: CloneMethod,
    },
    /// A file of one hole, for a snapshot to stand on. An existing file is kept, and grown if it is
    /// smaller; it never shrinks.
    SparseFile {
        /// Whose.
        vm: VmId,
        /// Which of the snapshot's files. Older ledgers know the store alone.
        #[serde(default)]
        part: SnapshotPart,
        /// Where.
        path: PathBuf,
        /// The least that it measures.
        size: Bytes,
    },
    /// A sparse file with an empty ext4 file system. It grows but never shrinks; the guest grows
    /// the file system.
    Ext4 {
        /// Whose.
        vm: VmId,
        /// Where.
        path: PathBuf,
        /// What the file measures.
        size: Bytes,
    },
    /// A device-mapper snapshot: reads come from `base`, writes go to `cow` in chunks of 8 sectors
    /// and persist. A snapshot is as large as its base; where there is a `tail`, the device goes on
    /// with that. It owns the loop devices under the files.
    DmSnapshot {
        /// Whose.
        vm: VmId,
        /// The device's name below `/dev/mapper`.
        name: DmName,
        /// The image; attached read-only.
        base: PathBuf,
        /// The copy-on-write store.
        cow: PathBuf,
        /// What follows the last whole sector of `base`.
        #[serde(default)]
        tail: Option<PathBuf>,
    },
    /// The initrd that one VM boots: the parts one after the other, each padded to 4 bytes, then
    /// the tail. Mode 0600. It is written anew by each `ensure`.
    BootInitrd {
        /// Whose.
        vm: VmId,
        /// Where.
        path: PathBuf,
        /// Archives that are the same for many VMs.
        parts: Vec<PathBuf>,
        /// The archive with the VM's configuration.
        tail: Payload,
    },
    /// The instance's bridge, up, with the subnet's gateway as its address.
    Bridge {
        /// The interface.
        name: IfName,
        /// Its address.
        subnet: Subnet,
        /// The mark by which the instance knows it (`ip link … alias`).
        alias: String,
    },
    /// The nft table of the instance: the listed guests reach beyond the bridge, no other does.
    NatTable {
        /// The table, in family `ip`.
        table: TableName,
        /// The bridge that the guests are on.
        bridge: IfName,
        /// The bridge's subnet.
        subnet: Subnet,
        /// The guests with NAT, sorted.
        guests: Vec<GuestIp>,
    },
    /// A TAP interface, up and attached to the bridge.
    Tap {
        /// Whose.
        vm: VmId,
        /// The interface.
        name: IfName,
        /// The bridge that it is attached to.
        bridge: IfName,
    },
    /// A VMM in a session of its own, with its API socket answering connections. It outlives the
    /// daemon. Removing it kills it.
    VmmProcess(VmmProcess),
}

/// How to start one VM's VMM, and how to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmProcess {
    /// Whose.
    pub vm: VmId,
    /// The program, by absolute path.
    pub program: PathBuf,
    /// Its arguments. One of them contains `api_socket`, which is how a process without an
    /// identity file is found.
    pub args: Vec<String>,
    /// The control socket.
    pub api_socket: PathBuf,
    /// Standard output, appended: the guest's console.
    pub stdout: PathBuf,
    /// Standard error, emptied at each start: the VMM's own messages.
    pub stderr: PathBuf,
    /// Where the host writes the process's pid, start time and boot id.
    pub identity: PathBuf,
}

/// Which of the files that a snapshot stands on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotPart {
    /// The copy-on-write store: what is written where the image has data.
    #[default]
    Cow,
    /// What the disk has beyond the image's end.
    Tail,
}

/// How a clone gets its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneMethod {
    /// FICLONE: both files share their blocks until one is written.
    Reflink,
    /// A copy that keeps holes.
    Copy,
}

/// Bytes that must not appear in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(pub Vec<u8>);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// What an object is for. The order is the order in which a start puts them in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The instance's bridge.
    Bridge,
    /// The instance's nft table.
    NatTable,
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
        Self::NatTable,
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
            Self::NatTable => "nat_table",
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
        matches!(self, Self::Bridge | Self::NatTable)
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

    /// The key of the bridge.
    pub const BRIDGE: Self = Self { vm: None, role: Role::Bridge };
    /// The key of the nft table.
    pub const NAT_TABLE: Self = Self { vm: None, role: Role::NatTable };

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
        let role = |word: &str| Role::ALL.into_iter().find(|role| role.as_str() == word);
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

impl Resource {
    /// What the object is for.
    pub fn role(&self) -> Role {
        match self {
            Self::VmDir { .. } => Role::VmDir,
            Self::RuntimeDir { .. } => Role::RuntimeDir,
            Self::ClonedFile { .. } => Role::RootClone,
            Self::SparseFile { part: SnapshotPart::Cow, .. } => Role::RootCow,
            Self::SparseFile { part: SnapshotPart::Tail, .. } => Role::RootTail,
            Self::Ext4 { .. } => Role::WorkDisk,
            Self::DmSnapshot { .. } => Role::RootSnapshot,
            Self::BootInitrd { .. } => Role::Initrd,
            Self::Bridge { .. } => Role::Bridge,
            Self::NatTable { .. } => Role::NatTable,
            Self::Tap { .. } => Role::Tap,
            Self::VmmProcess(_) => Role::Vmm,
        }
    }

    /// The VM that the object belongs to, unless it is shared.
    pub fn vm(&self) -> Option<&VmId> {
        match self {
            Self::VmDir { vm, .. }
            | Self::RuntimeDir { vm, .. }
            | Self::ClonedFile { vm, .. }
            | Self::SparseFile { vm, .. }
            | Self::Ext4 { vm, .. }
            | Self::DmSnapshot { vm, .. }
            | Self::BootInitrd { vm, .. }
            | Self::Tap { vm, .. } => Some(vm),
            Self::VmmProcess(process) => Some(&process.vm),
            Self::Bridge { .. } | Self::NatTable { .. } => None,
        }
    }

    /// The object's key.
    pub fn key(&self) -> ResourceKey {
        ResourceKey { vm: self.vm().cloned(), role: self.role() }
    }

    /// The name under which a user finds the object on the host.
    pub fn object(&self) -> String {
        match self {
            Self::VmDir { path, .. }
            | Self::RuntimeDir { path, .. }
            | Self::ClonedFile { path, .. }
            | Self::SparseFile { path, .. }
            | Self::Ext4 { path, .. }
            | Self::BootInitrd { path, .. } => path.display().to_string(),
            Self::DmSnapshot { name, .. } => name.device().display().to_string(),
            Self::Bridge { name, .. } | Self::Tap { name, .. } => name.to_string(),
            Self::NatTable { table, .. } => table.to_string(),
            Self::VmmProcess(process) => process.api_socket.display().to_string(),
        }
    }
}

/// An object on the host that bears the instance's mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Observed {
    /// Which object it is.
    pub key: ResourceKey,
    /// Its name on the host: a path, an interface, a table, a device; for a VMM its socket.
    pub object: String,
}

impl Observed {
    /// The resource that the object is, as far as `Host::remove` needs to know it: names and paths
    /// are right, what only `ensure` reads (sizes, sources, arguments) is empty.
    ///
    /// `None` for an object whose observed name is no name of its kind.
    pub fn leftover(&self, layout: &Layout) -> Option<Resource> {
        let role = self.key.role;
        let Some(vm) = self.key.vm.clone() else { return self.shared_leftover(layout) };
        let paths = layout.vm(&vm);
        let nothing = Bytes(0);
        Some(match role {
            Role::Bridge | Role::NatTable => return None,
            Role::VmDir => Resource::VmDir { vm, path: paths.dir },
            Role::RuntimeDir => Resource::RuntimeDir { vm, path: paths.runtime },
            Role::RootClone => Resource::ClonedFile {
                vm,
                path: paths.root_clone,
                source: PathBuf::new(),
                size: nothing,
                method: CloneMethod::Copy,
            },
            Role::RootCow => Resource::SparseFile {
                vm,
                part: SnapshotPart::Cow,
                path: paths.root_cow,
                size: nothing,
            },
            Role::RootTail => Resource::SparseFile {
                vm,
                part: SnapshotPart::Tail,
                path: paths.root_tail,
                size: nothing,
            },
            Role::WorkDisk => Resource::Ext4 { vm, path: paths.work_disk, size: nothing },
            Role::RootSnapshot => Resource::DmSnapshot {
                name: layout.root_snapshot(&vm),
                vm,
                base: PathBuf::new(),
                cow: paths.root_cow,
                tail: Some(paths.root_tail),
            },
            Role::Initrd => Resource::BootInitrd {
                vm,
                path: paths.initrd,
                parts: Vec::new(),
                tail: Payload(Vec::new()),
            },
            Role::Tap => {
                let name = layout.tap(&vm);
                Resource::Tap { vm, bridge: name.clone(), name }
            }
            Role::Vmm => Resource::VmmProcess(VmmProcess {
                vm,
                program: PathBuf::new(),
                args: Vec::new(),
                api_socket: paths.api_socket,
                stdout: paths.console_log,
                stderr: paths.vmm_log,
                identity: paths.identity,
            }),
        })
    }

    fn shared_leftover(&self, layout: &Layout) -> Option<Resource> {
        let unknown = Subnet::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 24)
            .expect("TEST-NET-1 is a subnet with a usable first address");
        let bridge = IfName::try_from(self.object.clone());
        match self.key.role {
            Role::Bridge => Some(Resource::Bridge {
                name: bridge.ok()?,
                subnet: unknown,
                alias: layout.bridge_alias(),
            }),
            Role::NatTable => Some(Resource::NatTable {
                table: layout.nat_table(),
                bridge: IfName::try_from("lo".to_owned()).expect("a short plain name"),
                subnet: unknown,
                guests: Vec::new(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> VmId {
        VmId::from_entropy(77)
    }

    fn keys() -> Vec<ResourceKey> {
        Role::ALL
            .into_iter()
            .map(|role| ResourceKey { vm: (!role.is_shared()).then(vm), role })
            .collect()
    }

    #[test]
    fn keys_parse_back() {
        for key in keys() {
            assert_eq!(key.to_string().parse::<ResourceKey>().unwrap(), key);
        }
        for text in ["", "instance/tap", "vm/00000000/bridge", "vm/x/tap", "instance", "vm/a/b/c"] {
            assert!(text.parse::<ResourceKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_leftover_of_every_role_has_the_key_it_was_seen_under() {
        let layout = Layout::new("/state".into(), "/run/b".into()).unwrap();
        for key in keys() {
            let observed = Observed { key: key.clone(), object: "banger0".into() };
            assert_eq!(observed.leftover(&layout).expect("a role with a leftover").key(), key);
        }
    }

    #[test]
    fn a_snapshot_of_a_ledger_from_before_tails_is_read() {
        let row = |text: &str| serde_json::from_str::<Resource>(text).unwrap();
        let store = row(r#"{"kind":"sparse_file","vm":"VM","path":"/c","size":1}"#
            .replace("VM", vm().as_str())
            .as_str());
        assert_eq!(store.role(), Role::RootCow);
        let device = row(r#"{"kind":"dm_snapshot","vm":"VM","name":"n","base":"/b","cow":"/c"}"#
            .replace("VM", vm().as_str())
            .as_str());
        assert!(matches!(device, Resource::DmSnapshot { tail: None, .. }));
    }

    #[test]
    fn debug_output_of_an_initrd_hides_its_payload() {
        let initrd = Resource::BootInitrd {
            vm: vm(),
            path: "/i".into(),
            parts: Vec::new(),
            tail: Payload(b"SECRET".to_vec()),
        };
        assert!(format!("{initrd:?}").contains("Payload(6 bytes)"));
    }
}
