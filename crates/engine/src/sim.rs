//! The engine's ports over the simulator.

use crate::reach::Reach;
use crate::settings::Ports;
use async_trait::async_trait;
use banger_core::net::GuestIp;
use banger_core::vm::VmmKind;
use banger_host::{HostError, SimHost};
use banger_vmm::{Capabilities, Driver, Launch, Machine, MachineStatus, VmmError};
use std::path::Path;
use std::sync::Arc;

/// Ports whose host, VMM and guests are simulated.
pub fn sim_ports(host: Arc<SimHost>) -> Ports {
    Ports {
        drivers: vec![Arc::new(SimDriver { host: Arc::clone(&host) })],
        reach: Arc::new(SimReach),
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

/// Every guest answers.
#[derive(Debug)]
struct SimReach;

#[async_trait]
impl Reach for SimReach {
    async fn ssh(&self, _ip: GuestIp) -> bool {
        true
    }
}
