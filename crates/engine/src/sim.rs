//! The engine's ports over the simulator.

mod workbench;

use crate::import::Importer;
use crate::reach::Reach;
use crate::settings::Ports;
use async_trait::async_trait;
use banger_core::net::GuestIp;
use banger_core::vm::VmmKind;
use banger_host::{HostError, SimHost};
use banger_image::import::{
    ImportError, ImportRecord, ImportRequest, ImportStep, Imported, RECORD_FILE, ROOTFS_FILE,
    SourceKind,
};
use banger_vmm::{Capabilities, Driver, Launch, Machine, MachineStatus, VmmError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use workbench::SimWorkbench;

/// Ports whose host, VMM and guests are simulated.
pub fn sim_ports(host: Arc<SimHost>) -> Ports {
    Ports {
        drivers: vec![Arc::new(SimDriver { host: Arc::clone(&host) })],
        reach: Arc::new(SimReach),
        importer: Arc::new(SimImporter),
        workbench: Arc::new(SimWorkbench::new(Arc::clone(&host))),
        processes: Arc::clone(&host) as _,
        host,
    }
}

/// A VMM that boots nothing.
#[derive(Debug)]
struct SimDriver {
    host: Arc<SimHost>,
}

fn refused(request: &'static str) -> impl FnOnce(HostError) -> VmmError {
    move |error| VmmError::Refused {
        request: request.to_owned(),
        status: "simulator".to_owned(),
        message: error.to_string(),
    }
}

#[async_trait]
impl Driver for SimDriver {
    fn kind(&self) -> VmmKind {
        VmmKind::Firecracker
    }

    fn acceleration(&self) -> &str {
        "simulation"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { snapshot: false, balloon: false, vsock: false }
    }

    fn launch(&self, machine: &Machine) -> Launch {
        let socket = machine.api_socket.display().to_string();
        Launch { program: "/sim/vmm".into(), args: vec!["--api-sock".to_owned(), socket] }
    }

    async fn boot(&self, machine: &Machine) -> Result<(), VmmError> {
        self.host.boot(&machine.api_socket).map_err(refused("boot"))
    }

    async fn status(&self, api_socket: &Path) -> Result<MachineStatus, VmmError> {
        let booted = self.host.is_booted(api_socket);
        Ok(if booted { MachineStatus::Running } else { MachineStatus::Waiting })
    }

    async fn request_shutdown(&self, api_socket: &Path) -> Result<(), VmmError> {
        self.host.request_shutdown(api_socket).map_err(refused("shut down"))
    }
}

/// Takes every step and makes as much of a root file system as is looked at.
#[derive(Debug)]
struct SimImporter;

impl Importer for SimImporter {
    fn import(
        &self,
        request: &ImportRequest<'_>,
        progress: &dyn Fn(ImportStep),
    ) -> Result<Imported, ImportError> {
        let write =
            |name: &str, bytes: &[u8]| {
                let path = request.dir.join(name);
                std::fs::write(&path, bytes)
                    .map(|()| path.clone())
                    .map_err(|source| ImportError::Io { action: "write", path, source })
            };
        for step in
            [ImportStep::Inspect, ImportStep::Unpack, ImportStep::Measure, ImportStep::Write]
        {
            progress(step);
            if request.cancel.load(Ordering::Relaxed) {
                return Err(ImportError::Cancelled);
            }
        }
        // The magic of ext4, where `banger_image::artifact` looks for it.
        let mut superblock = vec![0; 4096];
        superblock[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        let rootfs = write(ROOTFS_FILE, &superblock)?;
        let record = ImportRecord::new(request.source.to_owned(), SourceKind::Tar);
        write(RECORD_FILE, record.render().as_bytes())?;
        Ok(Imported { rootfs, record, warnings: Vec::new() })
    }
}

/// Every guest answers.
#[derive(Debug)]
struct SimReach;

#[async_trait]
impl Reach for SimReach {
    async fn ssh(&self, _ip: GuestIp) -> bool {
        true
    }

    async fn answers(&self, _ip: GuestIp) -> bool {
        true
    }
}
