//! A gate before each step of a build: it is taken when the test lets it.

use async_trait::async_trait;
use banger_core::vm::VmmKind;
use banger_engine::{Ports, Workbench};
use banger_image::fsck::FsckError;
use banger_provision::{Call, Ended, Guest, LineSink, Login, SessionError};
use banger_vmm::{Capabilities, Driver, Launch, Machine, MachineStatus, VmmError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// A step that is taken when this is dropped.
#[derive(Debug)]
pub(crate) struct Step {
    /// What is about to be done: `check`, `run apt-get`.
    pub(crate) name: String,
    _go: oneshot::Sender<()>,
}

/// The gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(UnboundedSender<Step>);

impl Gate {
    /// A gate, and who comes to it.
    pub(crate) fn new() -> (Self, UnboundedReceiver<Step>) {
        let (sender, steps) = unbounded_channel();
        (Self(sender), steps)
    }

    /// Puts the gate before what goes through these ports.
    pub(crate) fn guard(self, ports: &mut Ports) {
        let (gate, driver) = (self.clone(), Arc::clone(&ports.drivers[0]));
        ports.drivers = vec![Arc::new(GatedDriver { driver, gate })];
        let bench = Arc::clone(&ports.workbench);
        ports.workbench = Arc::new(GatedBench { bench, gate: self });
    }

    /// Waits until the step may be taken; where no test watches, it may.
    async fn pass(&self, name: &str) {
        let (go, dropped) = oneshot::channel();
        if self.0.send(Step { name: name.to_owned(), _go: go }).is_ok() {
            dropped.await.unwrap_err();
        }
    }

    fn pass_blocking(&self, name: &str) {
        Handle::current().block_on(self.pass(name));
    }
}

#[derive(Debug)]
struct GatedDriver {
    driver: Arc<dyn Driver>,
    gate: Gate,
}

#[async_trait]
impl Driver for GatedDriver {
    fn kind(&self) -> VmmKind {
        self.driver.kind()
    }

    fn acceleration(&self) -> &str {
        self.driver.acceleration()
    }

    fn capabilities(&self) -> Capabilities {
        self.driver.capabilities()
    }

    fn launch(&self, machine: &Machine) -> Launch {
        self.driver.launch(machine)
    }

    async fn boot(&self, machine: &Machine) -> Result<(), VmmError> {
        self.gate.pass("boot").await;
        self.driver.boot(machine).await
    }

    async fn status(&self, api_socket: &Path) -> Result<MachineStatus, VmmError> {
        self.driver.status(api_socket).await
    }

    async fn request_shutdown(&self, api_socket: &Path) -> Result<(), VmmError> {
        self.gate.pass("shut down").await;
        self.driver.request_shutdown(api_socket).await
    }
}

#[derive(Debug)]
struct GatedBench {
    bench: Arc<dyn Workbench>,
    gate: Gate,
}

#[async_trait]
impl Workbench for GatedBench {
    async fn enter(&self, login: &Login, limit: Duration) -> Result<Arc<dyn Guest>, SessionError> {
        self.gate.pass("enter").await;
        let guest = self.bench.enter(login, limit).await?;
        Ok(Arc::new(GatedGuest { guest, gate: self.gate.clone() }))
    }

    fn check(&self, disk: &Path, cancel: &AtomicBool) -> Result<(), FsckError> {
        self.gate.pass_blocking("check");
        self.bench.check(disk, cancel)
    }

    fn take(&self, disk: &Path, target: &Path) -> io::Result<()> {
        self.gate.pass_blocking("take");
        self.bench.take(disk, target)
    }

    fn copy(&self, file: &Path, target: &Path) -> io::Result<()> {
        self.gate.pass_blocking("copy");
        self.bench.copy(file, target)
    }

    fn copy_rootfs(&self, rootfs: &Path, target: &Path, cancel: &AtomicBool) -> io::Result<()> {
        self.bench.copy_rootfs(rootfs, target, cancel)
    }

    fn digest(&self, rootfs: &Path, cancel: &AtomicBool) -> io::Result<String> {
        self.gate.pass_blocking("digest");
        self.bench.digest(rootfs, cancel)
    }

    fn sha256(&self, file: &Path) -> io::Result<String> {
        self.bench.sha256(file)
    }
}

#[derive(Debug)]
struct GatedGuest {
    guest: Arc<dyn Guest>,
    gate: Gate,
}

#[async_trait]
impl Guest for GatedGuest {
    async fn run(&self, call: Call, lines: &mut LineSink<'_>) -> Result<Ended, SessionError> {
        self.gate.pass(&format!("run {}", call.argv()[0])).await;
        self.guest.run(call, lines).await
    }
}
