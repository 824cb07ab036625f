//! The record of one VM.

use crate::forward::Forward;
use crate::guest::HostKey;
use crate::id::{ImageId, OpId, VmId};
use crate::image::BootFiles;
use crate::net::{GuestIp, MacAddr};
use crate::resource::CloneMethod;
use crate::spec::VmSpec;
use crate::state::VmState;
use crate::vm_name::VmName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A VM as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Its id, for life.
    pub id: VmId,
    /// Its name, unique among the VMs.
    pub name: VmName,
    /// The image that it boots from, for life.
    pub image: ImageId,
    /// What it is given. A change takes effect at the next start.
    pub spec: VmSpec,
    /// What it is known by, for life.
    pub identity: Identity,
    /// What it is there for.
    #[serde(default)]
    pub purpose: Purpose,
    /// What it boots in place of its image's kernel, for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_kernel: Option<BootFiles>,
    /// How its root disk is layered over the image, for life.
    pub overlay: OverlayMethod,
    /// Where it is in its life.
    pub state: VmState,
    /// The VMM that runs it or ran it last.
    pub vmm: Option<VmmKind>,
    /// Why it is in `error`, or why it last failed or ended by itself.
    pub last_error: Option<String>,
    /// A delete has begun. Whatever interrupts it, the next daemon start finishes it.
    #[serde(default)]
    pub deleting: bool,
    /// The ports of the host that lead into it while it runs.
    #[serde(default)]
    pub forwards: BTreeSet<Forward>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When its state last changed.
    pub changed_at: UnixMillis,
    /// The operation that changed it; a record from before that was kept has none.
    #[serde(default)]
    pub changed_by: Option<OpId>,
}

/// What a VM is there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Its user's work.
    #[default]
    Work,
    /// An image is made of its root disk. It goes with the operation that makes it.
    Build,
    /// It was a `Build`, and stays after the operation has failed, for its user to look into.
    KeptBuild,
}

impl Purpose {
    /// Whether it has a work disk. What an image is made of has all that is in it on its root disk.
    pub const fn has_work_disk(self) -> bool {
        matches!(self, Self::Work)
    }

    /// Whether it ends with the operation that made it, and so with the daemon.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Build)
    }

    /// The word in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Build => "build",
            Self::KeptBuild => "kept-build",
        }
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

/// What a VM is known by: given once, kept for life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its address on the bridge.
    pub ip: GuestIp,
    /// Its interface's hardware address.
    pub mac: MacAddr,
    /// 32 lower-case hexadecimal digits, as in machine-id(5).
    pub machine_id: String,
    /// Its ssh host key.
    pub host_key: HostKey,
}

/// How a VM's root disk is layered over the image's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlayMethod {
    /// A clone that shares blocks with the image (FICLONE).
    Reflink,
    /// A device-mapper snapshot over the image.
    DmSnapshot,
    /// A full copy that keeps holes.
    Copy,
}

impl OverlayMethod {
    /// How the clone is made, where the method is a clone.
    pub const fn clone_method(self) -> Option<CloneMethod> {
        match self {
            Self::Reflink => Some(CloneMethod::Reflink),
            Self::Copy => Some(CloneMethod::Copy),
            Self::DmSnapshot => None,
        }
    }

    /// The word in the configuration file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::DmSnapshot => "dm-snapshot",
            Self::Copy => "copy",
        }
    }
}

/// Which program runs a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmmKind {
    /// Firecracker, which needs KVM.
    Firecracker,
    /// QEMU, with KVM or under software emulation.
    Qemu,
}

impl VmmKind {
    /// The word in the configuration file and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
        }
    }
}
