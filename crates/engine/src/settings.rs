//! What the engine is told at its start.

use crate::build::Workbench;
use crate::import::Importer;
use crate::reach::Reach;
use banger_core::names::Layout;
use banger_core::plan::BridgeSpec;
use banger_core::spec::VmSpec;
use banger_core::vm::{OverlayMethod, VmmKind};
use banger_host::{Host, Processes};
use banger_image::bundle::BundleSource;
use banger_vmm::Driver;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

/// Settings that hold for all VMs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things are and what they are called.
    pub layout: Layout,
    /// What a new VM is given.
    pub defaults: VmSpec,
    /// The bridge.
    pub bridge: BridgeSpec,
    /// How the root disk of a new VM is layered.
    pub overlay: OverlayMethod,
    /// Name servers for the guests.
    pub nameservers: Vec<Ipv4Addr>,
    /// Domains in which the guests look short names up.
    pub search: Vec<String>,
    /// Where images come from.
    pub images: Images,
    /// The static banger-init that is put into every initrd.
    pub guest_init: PathBuf,
    /// The key with which VMs are entered, where it is not to be the instance's own.
    pub ssh_key: Option<OwnKey>,
}

/// A user's own key for entering VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKey {
    /// The private key's file.
    pub path: PathBuf,
    /// Where `ssh_key_path` has its value from: `line 3 of …`.
    pub origin: String,
}

/// Where images come from.
#[derive(Debug, Clone)]
pub enum Images {
    /// The runtime bundle, with what is taken from elsewhere, has the `default` image.
    Bundle(BundleSource),
    /// The `default` image has a record, and none of its files exists: for the simulator.
    Simulated,
}

/// What stands between the engine and the world.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Host objects.
    pub host: Arc<dyn Host>,
    /// VMM processes.
    pub processes: Arc<dyn Processes>,
    /// VMM drivers; the first one runs new VMs, the others only those that they run already.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// Whether a guest answers.
    pub reach: Arc<dyn Reach>,
    /// What makes root file systems of other things.
    pub importer: Arc<dyn Importer>,
    /// The means of image builds.
    pub workbench: Arc<dyn Workbench>,
}

impl Ports {
    /// The driver for VMs that start now.
    ///
    /// # Panics
    ///
    /// Without any driver: a mistake in the program.
    pub(crate) fn preferred(&self) -> &Arc<dyn Driver> {
        self.drivers.first().expect("an engine is given at least one driver")
    }

    /// The driver of a VM that runs already.
    pub(crate) fn driver(&self, kind: Option<VmmKind>) -> &Arc<dyn Driver> {
        let known = self.drivers.iter().find(|driver| Some(driver.kind()) == kind);
        known.unwrap_or_else(|| self.preferred())
    }
}
