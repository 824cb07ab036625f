//! The one vocabulary of host objects: every object that banger puts on a host is a [`Resource`].
//!
//! A resource is plain data. It holds no value that the kernel hands out (no loop number, no pid):
//! the host finds those again from the names. So the same value serves as plan, as ledger row, as
//! the thing to undo, and as a message to a privileged helper.

mod gatekeeper;
mod key;

pub use gatekeeper::{DnsGate, Gatekeeper, GatekeeperError};
pub use key::{KeyError, Owner, ResourceKey, Role};

use crate::id::{ImageId, VmId};
use crate::names::{DmName, IfName, ImagePaths, Layout, TableName};
use crate::net::{GuestIp, MacAddr, Subnet};
use crate::unit::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddrV4;
use std::num::NonZeroU16;
use std::path::PathBuf;

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
    /// The nft tables of the instance, which say who reaches what: the members, each as itself,
    /// and nobody else. Older ledgers know a table for NAT alone.
    #[serde(alias = "nat_table")]
    Firewall {
        /// The tables, in the families `ip` and `bridge`.
        table: TableName,
        /// The bridge that the guests are on.
        bridge: IfName,
        /// The bridge's subnet.
        subnet: Subnet,
        /// The guests that run or start, sorted by address.
        #[serde(default)]
        members: Vec<Member>,
        /// Which of the host's addresses they reach.
        #[serde(default)]
        host_access: HostAccess,
        /// The port of the bridge's address to which DNS queries to that address are turned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dns_port: Option<NonZeroU16>,
    },
    /// What has a firewall of somebody else's let the bridge's packets through. What a guest may do
    /// is still for the instance's own tables to say.
    Permit {
        /// Whose firewall.
        gatekeeper: Gatekeeper,
        /// The mark by which the instance knows its rules: a comment in each.
        mark: String,
        /// The bridge that the packets come from and go to.
        bridge: IfName,
        /// Where guests' DNS queries are answered, if the firewall has to let them through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dns: Option<SocketAddrV4>,
    },
    /// The directory in which an image is made. Mode 0700. Removing it removes what is in it.
    ImageDraft {
        /// Whose.
        image: ImageId,
        /// Where.
        path: PathBuf,
    },
    /// The directory of a whole managed image: its draft, whose files have reached the disk, under
    /// the image's name. Removing it removes what is in it.
    ImageDir {
        /// Whose.
        image: ImageId,
        /// Where.
        path: PathBuf,
        /// Where it was made.
        draft: PathBuf,
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

/// One guest's part in the shared network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its address.
    pub ip: GuestIp,
    /// Its hardware address.
    pub mac: MacAddr,
    /// The interface that all it sends comes from.
    pub tap: IfName,
    /// Whether it reaches beyond the bridge.
    pub nat: bool,
}

/// Which of the host's addresses guests reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAccess {
    /// The bridge's alone.
    #[default]
    Gateway,
    /// Guests with NAT all of them, the others the bridge's.
    Any,
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
            Self::Firewall { .. } => Role::Firewall,
            Self::Permit { gatekeeper, .. } => gatekeeper.role(),
            Self::ImageDraft { .. } => Role::ImageDraft,
            Self::ImageDir { .. } => Role::ImageDir,
            Self::Tap { .. } => Role::Tap,
            Self::VmmProcess(_) => Role::Vmm,
        }
    }

    /// Whom the object belongs to.
    pub fn owner(&self) -> Owner {
        match self {
            Self::VmDir { vm, .. }
            | Self::RuntimeDir { vm, .. }
            | Self::ClonedFile { vm, .. }
            | Self::SparseFile { vm, .. }
            | Self::Ext4 { vm, .. }
            | Self::DmSnapshot { vm, .. }
            | Self::BootInitrd { vm, .. }
            | Self::Tap { vm, .. } => Owner::Vm(vm.clone()),
            Self::VmmProcess(process) => Owner::Vm(process.vm.clone()),
            Self::ImageDraft { image, .. } | Self::ImageDir { image, .. } => {
                Owner::Image(image.clone())
            }
            Self::Bridge { .. } | Self::Firewall { .. } | Self::Permit { .. } => Owner::Instance,
        }
    }

    /// The object's key.
    pub fn key(&self) -> ResourceKey {
        ResourceKey::new(self.owner(), self.role())
    }

    /// The name under which a user finds the object on the host.
    pub fn object(&self) -> String {
        match self {
            Self::VmDir { path, .. }
            | Self::RuntimeDir { path, .. }
            | Self::ClonedFile { path, .. }
            | Self::SparseFile { path, .. }
            | Self::Ext4 { path, .. }
            | Self::BootInitrd { path, .. }
            | Self::ImageDraft { path, .. }
            | Self::ImageDir { path, .. } => path.display().to_string(),
            Self::DmSnapshot { name, .. } => name.device().display().to_string(),
            Self::Bridge { name, .. } | Self::Tap { name, .. } => name.to_string(),
            Self::Firewall { table, .. } => table.to_string(),
            // firewalld's zones bear no marks.
            Self::Permit { gatekeeper: Gatekeeper::Firewalld, bridge, .. } => bridge.to_string(),
            Self::Permit { mark, .. } => mark.clone(),
            Self::VmmProcess(process) => process.api_socket.display().to_string(),
        }
    }
}

/// As far as it has to be known to be taken away.
fn permit_leftover(gatekeeper: Gatekeeper, bridge: IfName, layout: &Layout) -> Resource {
    Resource::Permit { gatekeeper, mark: layout.bridge_alias(), bridge, dns: None }
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
        match self.key.owner() {
            Owner::Instance => self.shared_leftover(layout),
            Owner::Vm(vm) => self.leftover_of_vm(vm.clone(), layout),
            Owner::Image(image) => self.leftover_of_image(image.clone(), layout),
        }
    }

    fn leftover_of_image(&self, image: ImageId, layout: &Layout) -> Option<Resource> {
        let ImagePaths { dir, draft } = layout.image(&image);
        match self.key.role() {
            Role::ImageDraft => Some(Resource::ImageDraft { image, path: draft }),
            Role::ImageDir => Some(Resource::ImageDir { image, path: dir, draft }),
            _ => None,
        }
    }

    fn leftover_of_vm(&self, vm: VmId, layout: &Layout) -> Option<Resource> {
        let paths = layout.vm(&vm);
        let nothing = Bytes(0);
        Some(match self.key.role() {
            Role::Bridge
            | Role::Firewall
            | Role::PermitNft
            | Role::PermitLegacy
            | Role::PermitFirewalld
            | Role::ImageDraft
            | Role::ImageDir => return None,
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
        let lo = || IfName::try_from("lo".to_owned()).expect("a short plain name");
        match self.key.role() {
            Role::Bridge => Some(Resource::Bridge {
                name: bridge.ok()?,
                subnet: unknown,
                alias: layout.bridge_alias(),
            }),
            Role::Firewall => Some(Resource::Firewall {
                table: layout.nft_table(),
                bridge: lo(),
                subnet: unknown,
                members: Vec::new(),
                host_access: HostAccess::Gateway,
                dns_port: None,
            }),
            Role::PermitFirewalld => {
                Some(permit_leftover(Gatekeeper::Firewalld, bridge.ok()?, layout))
            }
            Role::PermitNft => Some(permit_leftover(Gatekeeper::IptablesNft, lo(), layout)),
            Role::PermitLegacy => Some(permit_leftover(Gatekeeper::IptablesLegacy, lo(), layout)),
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
            .map(|role| match role {
                Role::Bridge => ResourceKey::BRIDGE,
                Role::Firewall => ResourceKey::FIREWALL,
                Role::PermitNft => ResourceKey::of_permit(Gatekeeper::IptablesNft),
                Role::PermitLegacy => ResourceKey::of_permit(Gatekeeper::IptablesLegacy),
                Role::PermitFirewalld => ResourceKey::of_permit(Gatekeeper::Firewalld),
                role if role.is_of_image() => {
                    ResourceKey::of_image(&ImageId::from_entropy(78), role)
                }
                role => ResourceKey::of_vm(&vm(), role),
            })
            .collect()
    }

    #[test]
    fn keys_parse_back() {
        for key in keys() {
            assert_eq!(key.to_string().parse::<ResourceKey>().unwrap(), key);
        }
        for text in [
            "",
            "instance/tap",
            "vm/00000000/bridge",
            "vm/00000000/image_dir",
            "vm/00000000/permit_nft",
            "image/00000000/tap",
            "vm/x/tap",
            "instance",
            "vm/a/b/c",
        ] {
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
    fn a_nat_table_of_a_ledger_from_before_the_guards_is_the_firewall() {
        let text = r#"{"kind":"nat_table","table":"banger_v3r02","bridge":"banger0",
            "subnet":"172.16.0.1/24","guests":["172.16.0.2"]}"#;
        let resource = serde_json::from_str::<Resource>(text).unwrap();
        assert_eq!(resource.key(), ResourceKey::FIREWALL);
        assert_eq!(resource.object(), "banger_v3r02");
        assert_eq!("instance/nat_table".parse(), Ok(ResourceKey::FIREWALL));
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
