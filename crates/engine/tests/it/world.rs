//! A simulated host with an engine on it, and what must hold of both.

use async_trait::async_trait;
use banger_core::names::{IfName, Layout};
use banger_core::net::GuestIp;
use banger_core::plan::BridgeSpec;
use banger_core::resource::{Gatekeeper, HostAccess};
use banger_core::spec::{SpecChange, VmSpec};
use banger_core::state::{Readiness, VmState};
use banger_core::unit::MiB;
use banger_core::vm::OverlayMethod;
use banger_engine::sim::sim_ports;
use banger_engine::{
    Engine, EngineError, Images, Importer, NewVm, Operation, OperationError, Outcome, Ports, Reach,
    Settings, StartOptions, VmView,
};
use banger_host::{Fault, Host, SimHost, SimOptions};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything simulated takes; a test that meets it has found a hang.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A state directory, the simulated host in it, and the engine that runs on them now.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) overlay: OverlayMethod,
    pub(crate) subnet: &'static str,
    pub(crate) images: Images,
    pub(crate) host: Arc<SimHost>,
    pub(crate) engine: Engine,
}

fn layout(dir: &Path) -> Layout {
    Layout::new(dir.join("s"), dir.join("r")).unwrap()
}

/// A network in which guests answer until they are told not to, and which counts how often they are
/// asked whether they are there.
#[derive(Debug, Default)]
pub(crate) struct GuestNetwork {
    pub(crate) is_silent: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

#[async_trait]
impl Reach for GuestNetwork {
    async fn ssh(&self, _ip: GuestIp) -> bool {
        !self.is_silent.load(Ordering::SeqCst)
    }

    async fn answers(&self, ip: GuestIp) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.ssh(ip).await
    }
}

/// Has a guest's console say what a kernel says last, and its VMM run on.
pub(crate) fn say_last(view: &VmView, words: &str) {
    let mut console = OpenOptions::new().append(true).open(&view.paths.console_log).unwrap();
    write!(console, "[   99.000000] reboot: {words}\r\n").unwrap();
}

/// The store's files.
const RECORDS: [&str; 3] = ["state.db", "state.db-wal", "state.db-shm"];

/// Where managed images are.
pub(crate) const IMAGES: &str = "images";

/// Copies a tree of two levels, if it is there.
fn copy_tree(from: &Path, to: &Path) {
    for dir in std::fs::read_dir(from).into_iter().flatten() {
        let dir = dir.unwrap();
        let target = to.join(dir.file_name());
        std::fs::create_dir_all(&target).unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), target.join(file.file_name())).unwrap();
        }
    }
}

/// A host that keeps a copy of the records at the moment of a crash.
fn open_host(dir: &Path) -> Arc<SimHost> {
    let mut options = SimOptions::new(dir.join("s/sim-host.journal"));
    options.gatekeepers = vec![Gatekeeper::IptablesNft, Gatekeeper::Firewalld];
    let host = SimHost::open(layout(dir), options).unwrap();
    let (state, kept) = (dir.join("s"), dir.join("at-crash"));
    host.on_crash(move || {
        std::fs::create_dir_all(&kept).unwrap();
        for file in RECORDS.iter().filter(|file| state.join(file).exists()) {
            std::fs::copy(state.join(file), kept.join(file)).unwrap();
        }
        copy_tree(&state.join(IMAGES), &kept.join(IMAGES));
    });
    Arc::new(host)
}

fn settings(dir: &Path, overlay: OverlayMethod, subnet: &str, images: &Images) -> Settings {
    Settings {
        layout: layout(dir),
        defaults: VmSpec::builtin_defaults(),
        bridge: BridgeSpec {
            name: IfName::try_from("banger0".to_owned()).unwrap(),
            subnet: subnet.parse().unwrap(),
            host_access: HostAccess::Gateway,
            dns_port: None,
        },
        overlay,
        nameservers: Vec::new(),
        search: Vec::new(),
        images: images.clone(),
        guest_init: dir.join("banger-init"),
        ssh_key: None,
    }
}

impl World {
    /// An empty host on which everything works.
    pub(crate) async fn new() -> Self {
        Self::with(OverlayMethod::Copy, "172.16.0.1/24").await
    }

    pub(crate) async fn with(overlay: OverlayMethod, subnet: &'static str) -> Self {
        Self::over(tempfile::tempdir().unwrap(), overlay, subnet, Images::Simulated).await
    }

    /// With images from somewhere.
    pub(crate) async fn over(
        dir: TempDir,
        overlay: OverlayMethod,
        subnet: &'static str,
        images: Images,
    ) -> Self {
        Self::over_ports(dir, overlay, subnet, images, |_| {}).await
    }

    /// Where something else imports images.
    pub(crate) async fn with_importer(importer: Arc<dyn Importer>) -> Self {
        Self::with_ports(|ports| ports.importer = importer).await
    }

    /// With other ports until the next restart.
    pub(crate) async fn with_ports(change: impl FnOnce(&mut Ports)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (overlay, subnet) = (OverlayMethod::Copy, "172.16.0.1/24");
        Self::over_ports(dir, overlay, subnet, Images::Simulated, change).await
    }

    async fn over_ports(
        dir: TempDir,
        overlay: OverlayMethod,
        subnet: &'static str,
        images: Images,
        change: impl FnOnce(&mut Ports),
    ) -> Self {
        std::fs::create_dir_all(dir.path().join("s")).unwrap();
        std::fs::create_dir_all(dir.path().join("r")).unwrap();
        let host = open_host(dir.path());
        let mut ports = sim_ports(Arc::clone(&host));
        change(&mut ports);
        let settings = settings(dir.path(), overlay, subnet, &images);
        let engine = Engine::open(settings, ports).await.unwrap();
        Self { dir, overlay, subnet, images, host, engine }
    }

    /// Ends the daemon and starts a new one. The host stays as it is.
    ///
    /// After a crash the new one finds the records as they were when the host crashed: whatever the
    /// old one went on to write is thrown away, since a killed daemon writes no more.
    pub(crate) async fn restart(self) -> Self {
        let Self { dir, overlay, subnet, images, host, engine } = self;
        engine.shutdown().await;
        let crashed = host.is_crashed();
        drop((engine, host));
        if crashed {
            let (state, kept) = (dir.path().join("s"), dir.path().join("at-crash"));
            for file in RECORDS {
                match std::fs::copy(kept.join(file), state.join(file)) {
                    Ok(_) => {}
                    Err(_) => drop(std::fs::remove_file(state.join(file))),
                }
            }
            drop(std::fs::remove_dir_all(state.join(IMAGES)));
            copy_tree(&kept.join(IMAGES), &state.join(IMAGES));
        }
        let host = open_host(dir.path());
        let ports = sim_ports(Arc::clone(&host));
        let settings = settings(dir.path(), overlay, subnet, &images);
        let engine = Engine::open(settings, ports).await.unwrap();
        Self { dir, overlay, subnet, images, host, engine }
    }

    /// The directory that all of it is in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn faults(&self, faults: &str) {
        self.host.set_faults(Fault::parse_list(faults).unwrap());
    }

    pub(crate) async fn create(&self, name: &str) -> Result<Outcome, Box<OperationError>> {
        finish(self.engine.create(new_vm(name))).await
    }

    /// A stopped VM whose root disk is as large as the image, which the simulator's is not by
    /// default.
    pub(crate) async fn create_without_tail(&self, name: &str) {
        let spec = SpecChange { overlay: Some(MiB::of(4096)), ..SpecChange::default() };
        finish(self.engine.create(NewVm { spec, ..new_vm(name) })).await.unwrap();
        self.stop(name).await.unwrap();
    }

    pub(crate) async fn start(&self, name: &str) -> Result<Outcome, Box<OperationError>> {
        finish(self.engine.start(name, to_ssh()).unwrap()).await
    }

    pub(crate) async fn stop(&self, name: &str) -> Result<Outcome, Box<OperationError>> {
        finish(self.engine.stop(name, LONG).unwrap()).await
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<Outcome, Box<OperationError>> {
        finish(self.engine.delete(name).unwrap()).await
    }

    pub(crate) fn state(&self, name: &str) -> VmState {
        self.engine.view(name).unwrap().vm.state
    }

    /// Waits until the VM is as described.
    pub(crate) async fn until(&self, name: &str, what: impl Fn(&VmView) -> bool) -> VmView {
        let wait = async {
            loop {
                let view = self.engine.view(name).unwrap();
                if what(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("the VM never came to be as described")
    }

    /// The names in a directory of the state's; none if it is not there.
    pub(crate) fn files(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("s").join(dir));
        let names = entries.into_iter().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A path that a test can write to.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The objects on the host.
    pub(crate) fn objects(&self) -> Vec<String> {
        self.host.inventory().unwrap().iter().map(|observed| observed.key.to_string()).collect()
    }

    /// Fails unless ledger and host agree.
    pub(crate) async fn assert_agree(&self, context: &str) {
        let (audit, _) = self.engine.audit().await.unwrap();
        assert!(audit.is_clean(), "{context}: {audit:?}");
    }

    /// Fails if anything is on the host that the ledger does not name. After a failed removal the
    /// ledger may name more than there is: it names what may be there.
    pub(crate) async fn assert_no_leak(&self, context: &str) {
        let (audit, _) = self.engine.audit().await.unwrap();
        assert_eq!(audit.leaked, [], "{context}");
    }

    /// Fails unless there is nothing at all: no object, no row, no VM.
    pub(crate) async fn assert_empty(&self, context: &str) {
        self.assert_agree(context).await;
        assert_eq!(self.objects(), Vec::<String>::new(), "{context}");
        assert_eq!(self.engine.list(), Vec::new(), "{context}");
    }
}

pub(crate) fn new_vm(name: &str) -> NewVm {
    NewVm { name: Some(name.parse().unwrap()), start: Some(to_ssh()), ..NewVm::default() }
}

pub(crate) fn to_ssh() -> StartOptions {
    StartOptions { wait: Readiness::Ssh, timeout: LONG }
}

pub(crate) async fn finish(operation: Operation) -> Result<Outcome, Box<OperationError>> {
    tokio::time::timeout(LONG * 2, operation.finish()).await.expect("the operation hangs")
}

/// The error itself.
pub(crate) fn error(result: Result<Outcome, Box<OperationError>>) -> EngineError {
    result.expect_err("it should have failed").error
}
