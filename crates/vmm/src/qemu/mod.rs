//! QEMU, with KVM or under software emulation, controlled through its machine protocol (QMP).
//!
//! The machine is a q35 with virtio devices on PCI. QEMU's `microvm` machine starts a tenth faster
//! but has no reference timer, so that under emulation a Linux guest sometimes fails to calibrate
//! its clock and hangs; q35 has the ACPI power management timer and an HPET.
//!
//! Even so Linux 6.1 can mistake the frequency of the emulated TSC on a busy host: 2 of 30 boots
//! took 2.6 GHz for 0.15 and 0.2. That does no harm as long as the guest keeps time by the HPET,
//! which it does by itself. So the HPET stays on, and `tsc=reliable`, which makes reading the clock
//! ten times cheaper, stays off the kernel's command line: it would make such a guest's clock race.

mod args;
mod qmp;

use crate::{Capabilities, Driver, Launch, Machine, MachineStatus, Patience, VmmError};
use async_trait::async_trait;
use banger_core::vm::VmmKind;
use qmp::{Command, Qmp};
use std::path::{Path, PathBuf};

/// How QEMU executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// On the CPU, through KVM.
    Kvm,
    /// By translating them; it works everywhere and is slower.
    Emulation,
}

/// The QEMU driver.
#[derive(Debug, Clone)]
pub struct Qemu {
    program: PathBuf,
    acceleration: Acceleration,
    patience: Patience,
}

impl Qemu {
    /// A driver of the given `qemu-system-x86_64`, by absolute path.
    pub fn new(program: PathBuf, acceleration: Acceleration) -> Self {
        Self { program, acceleration, patience: Patience::default() }
    }

    /// The same driver with other limits on waiting.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}

#[async_trait]
impl Driver for Qemu {
    fn kind(&self) -> VmmKind {
        VmmKind::Qemu
    }

    fn acceleration(&self) -> &str {
        match self.acceleration {
            Acceleration::Kvm => "KVM",
            Acceleration::Emulation => "software emulation",
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { snapshot: false, balloon: false, vsock: false }
    }

    fn launch(&self, machine: &Machine) -> Launch {
        let args = args::render_args(self.acceleration, machine);
        Launch { program: self.program.clone(), args }
    }

    /// The arguments have configured the machine already; its processors wait for `cont`.
    async fn boot(&self, machine: &Machine) -> Result<(), VmmError> {
        let mut qmp = Qmp::connect(&machine.api_socket, self.patience).await?;
        qmp.execute(Command::Cont).await.map(drop)
    }

    async fn status(&self, api_socket: &Path) -> Result<MachineStatus, VmmError> {
        let mut qmp = Qmp::connect(api_socket, self.patience).await?;
        qmp.query_status().await
    }

    async fn request_shutdown(&self, api_socket: &Path) -> Result<(), VmmError> {
        let mut qmp = Qmp::connect(api_socket, self.patience).await?;
        qmp.execute(Command::ctrl_alt_delete()).await.map(drop)
    }
}
