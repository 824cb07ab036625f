//! What the engine shows of a VM.

use crate::error::EngineError;
use crate::forward::ForwardView;
use banger_core::image::{Image, ImageRecord};
use banger_core::names::VmPaths;
use banger_core::state::Readiness;
use banger_core::unit::Bytes;
use banger_core::vm::Vm;
use banger_core::vm_name::{ImageName, VmName};
use banger_host::ProcessView;
use banger_image::import::ImportRecord;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A VM's record with what is true only now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmView {
    /// The record.
    pub vm: Vm,
    /// What its image is called.
    pub image: ImageName,
    /// How far it has come.
    pub readiness: Readiness,
    /// The VMM's process while it runs.
    pub pid: Option<u32>,
    /// How it came to its last end since the daemon started, if it had one that nobody asked for.
    pub last_end: Option<LastEnd>,
    /// The ports of the host that lead into it, and how they stand.
    pub forwards: Vec<ForwardView>,
    /// Where its files are.
    pub paths: VmPaths,
}

/// An image's record with what is true only now.
#[derive(Debug)]
pub struct ImageView {
    /// The record.
    pub record: ImageRecord,
    /// What a VM boots from; absent where it needs the default image's kernel and there is none.
    pub image: Option<Image>,
    /// Why no VM can boot from it, if none can.
    pub problem: Option<EngineError>,
    /// The VMs that were created from it, in order of their names.
    pub users: Vec<VmName>,
    /// Where it came from, if it was imported.
    pub provenance: Option<ImportRecord>,
    /// Why it is no longer what its list of packages asks for, if it is not.
    pub stale: Option<String>,
}

/// How a VM came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEnd {
    /// Nobody had asked for it: the guest shut down, or the VMM died.
    ByItself,
}

/// What a VM weighs at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The VM.
    pub view: VmView,
    /// Its VMM's process, if it runs.
    pub process: Option<ProcessView>,
    /// Allocated blocks of the root disk's own layer.
    pub root: Bytes,
    /// Allocated blocks of the work disk.
    pub work: Bytes,
}

/// What an inventory came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// How many objects.
    pub objects: usize,
    /// When it was taken.
    pub at: Instant,
}

/// What a VM uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The VM.
    pub view: VmView,
    /// Processor time of the VMM since it started.
    pub cpu: Duration,
    /// Thousandths of one host processor, over the last half second.
    pub cpu_permille: u32,
    /// Resident memory of the VMM.
    pub resident: Bytes,
    /// Allocated blocks of the root disk's own layer.
    pub root: Bytes,
    /// Allocated blocks of the work disk.
    pub work: Bytes,
    /// How long it has been running.
    pub uptime: Duration,
}

/// What an ssh client needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAccess {
    /// The VM.
    pub view: VmView,
    /// The user.
    pub user: &'static str,
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// The private key.
    pub key: PathBuf,
    /// The known-hosts file.
    pub known_hosts: PathBuf,
    /// The VM's name in it.
    pub host_key_alias: String,
}

/// What an ssh client is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshConfig {
    /// A file with the text, which lasts.
    pub file: PathBuf,
    /// Lines for ssh_config(5).
    pub text: String,
}
