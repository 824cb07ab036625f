//! Firecracker, controlled through its API socket. All that banger knows of that API is here.

mod api;
mod client;
mod version;

pub use version::FirecrackerVersion;

use crate::boot_args::{NO_PCI, render_command_line};
use crate::{Capabilities, Disk, Driver, Launch, Machine, MachineStatus, Nic, Patience, VmmError};
use api::{
    Action, BootSource, CacheType, Drive, Entropy, InstanceState, IoEngine, MachineConfig,
    NetworkInterface,
};
use async_trait::async_trait;
use banger_core::vm::VmmKind;
use client::Client;
use std::path::{Path, PathBuf};

/// The Firecracker driver. Firecracker needs KVM.
#[derive(Debug, Clone)]
pub struct Firecracker {
    program: PathBuf,
    patience: Patience,
}

impl Firecracker {
    /// A driver of the given `firecracker`, by absolute path.
    pub fn new(program: PathBuf) -> Self {
        Self { program, patience: Patience::default() }
    }

    /// The same driver with other limits on waiting.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    async fn connect(&self, api_socket: &Path) -> Result<Client, VmmError> {
        Client::connect(api_socket, self.patience).await
    }
}

#[async_trait]
impl Driver for Firecracker {
    fn kind(&self) -> VmmKind {
        VmmKind::Firecracker
    }

    fn acceleration(&self) -> &str {
        "KVM"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { snapshot: false, balloon: false, vsock: false }
    }

    /// Firecracker's log would go to standard output, between the guest's console output. It opens
    /// the log's path itself and writes from the file's start, so that file must be empty.
    fn launch(&self, machine: &Machine) -> Launch {
        let socket = machine.api_socket.to_string_lossy();
        let id = instance_id(&machine.nic);
        let args = [
            ["--api-sock", &socket],
            ["--id", &id],
            ["--level", "Info"],
            ["--log-path", "/dev/stderr"],
        ];
        let args = args.concat().into_iter().chain(["--show-level"]);
        Launch { program: self.program.clone(), args: args.map(ToOwned::to_owned).collect() }
    }

    async fn boot(&self, machine: &Machine) -> Result<(), VmmError> {
        let mut client = self.connect(&machine.api_socket).await?;
        client.put(&machine_config(machine)).await?;
        let boot_args = render_command_line(&[NO_PCI], &machine.boot_args);
        let boot_source = BootSource {
            kernel_image_path: &machine.kernel.to_string_lossy(),
            initrd_path: &machine.initrd.to_string_lossy(),
            boot_args: &boot_args,
        };
        client.put(&boot_source).await?;
        for disk in &machine.disks {
            client.put(&drive(disk, &disk.path.to_string_lossy())).await?;
        }
        client.put(&network_interface(&machine.nic)).await?;
        client.put(&Entropy {}).await?;
        client.put_patiently(&Action::InstanceStart).await
    }

    async fn status(&self, api_socket: &Path) -> Result<MachineStatus, VmmError> {
        let info = self.connect(api_socket).await?.instance_info().await?;
        Ok(match info.state {
            InstanceState::NotStarted => MachineStatus::Waiting,
            InstanceState::Running => MachineStatus::Running,
            InstanceState::Paused => MachineStatus::Paused,
        })
    }

    async fn request_shutdown(&self, api_socket: &Path) -> Result<(), VmmError> {
        self.connect(api_socket).await?.put(&Action::SendCtrlAltDel).await
    }
}

/// The name by which Firecracker's log lines can be told apart. It takes letters, digits and `-`;
/// the TAP's name is unique and has little else.
fn instance_id(nic: &Nic) -> String {
    nic.tap.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

fn machine_config(machine: &Machine) -> MachineConfig {
    MachineConfig { vcpu_count: machine.vcpu.get(), mem_size_mib: machine.memory.get(), smt: false }
}

/// No drive is the root device for Firecracker: that would only add `root=` to the kernel's command
/// line, and the initrd mounts the root.
fn drive<'a>(disk: &'a Disk, path: &'a str) -> Drive<'a> {
    Drive {
        drive_id: disk.id,
        path_on_host: path,
        is_root_device: false,
        is_read_only: false,
        cache_type: CacheType::Writeback,
        io_engine: IoEngine::Sync,
    }
}

fn network_interface(nic: &Nic) -> NetworkInterface<'_> {
    NetworkInterface {
        iface_id: "eth0",
        host_dev_name: nic.tap.as_str(),
        guest_mac: nic.mac.to_string(),
    }
}
