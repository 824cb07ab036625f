//! VMM drivers behind one trait: Firecracker and QEMU.
//!
//! A driver knows its program's arguments and its control protocol. It starts no process and
//! touches no file: the host does, from the [`Launch`] that the driver describes.

mod boot_args;
mod detect;
mod error;
mod firecracker;
mod patience;
mod qemu;
mod socket;

pub use detect::{KvmStatus, detect_kvm};
pub use error::VmmError;
pub use firecracker::{Firecracker, FirecrackerVersion};
pub use patience::Patience;
pub use qemu::{Acceleration, Qemu};

use async_trait::async_trait;
use banger_core::names::IfName;
use banger_core::net::MacAddr;
use banger_core::unit::{MiB, VcpuCount};
use banger_core::vm::VmmKind;
use std::path::{Path, PathBuf};

/// The machine that a VMM is to run, in no VMM's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Virtual processors.
    pub vcpu: VcpuCount,
    /// Memory.
    pub memory: MiB,
    /// An uncompressed ELF kernel.
    pub kernel: PathBuf,
    /// The initrd with the VM's configuration.
    pub initrd: PathBuf,
    /// Words that the image adds to the kernel's command line.
    pub boot_args: Vec<String>,
    /// The disks, in the order of their names in the guest: `/dev/vda`, `/dev/vdb`.
    pub disks: Vec<Disk>,
    /// The one network interface.
    pub nic: Nic,
    /// Where the control socket is to be.
    pub api_socket: PathBuf,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its name in the VMM: `root`, `work`.
    pub id: &'static str,
    /// A raw file or block device.
    pub path: PathBuf,
}

/// The network interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The TAP on the host.
    pub tap: IfName,
    /// The hardware address in the guest.
    pub mac: MacAddr,
}

/// How to start a VMM. Its standard output is the guest's console; its standard error is its log.
///
/// Standard error must be a file that is empty at the start: Firecracker opens it once more and
/// writes from its beginning. Standard output may be appended to. Standard input is `/dev/null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, by absolute path.
    pub program: PathBuf,
    /// Its arguments; one of them contains the control socket's path.
    pub args: Vec<String>,
}

/// What a driver can do beyond running a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It can write a running machine to files and load it again.
    pub snapshot: bool,
    /// It can take memory back from a running guest.
    pub balloon: bool,
    /// It gives the guest a vsock device.
    pub vsock: bool,
}

/// What a VMM says about its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineStatus {
    /// The VMM is up; the machine was not told to boot.
    Waiting,
    /// The machine runs.
    Running,
    /// The machine is paused.
    Paused,
}

/// One kind of VMM.
#[async_trait]
pub trait Driver: Send + Sync + std::fmt::Debug {
    /// Which kind it is, for records and for people. Behaviour is asked of [`Self::capabilities`].
    fn kind(&self) -> VmmKind;

    /// Why and how it runs here, in a few words for people: `KVM`, `software emulation`.
    fn acceleration(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How to start it for the machine. Pure.
    fn launch(&self, machine: &Machine) -> Launch;

    /// Configures the machine through the control socket, which already accepts connections, and
    /// tells it to boot. When this returns the guest's first instruction has been asked for.
    async fn boot(&self, machine: &Machine) -> Result<(), VmmError>;

    /// Asks the VMM how its machine is.
    async fn status(&self, api_socket: &Path) -> Result<MachineStatus, VmmError>;

    /// Asks the guest to end, by Ctrl-Alt-Del. The VMM exits when the guest has restarted.
    async fn request_shutdown(&self, api_socket: &Path) -> Result<(), VmmError>;
}
