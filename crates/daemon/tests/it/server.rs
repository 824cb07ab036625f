//! A server in this process, over a simulated host in a directory of its own.

use crate::client::{self, Answer, Stream};
use banger_api::{Choice, LogLevel, build};
use banger_core::names::Layout;
use banger_core::plan::BridgeSpec;
use banger_core::resource::HostAccess;
use banger_core::spec::VmSpec;
use banger_core::vm::OverlayMethod;
use banger_daemon::config::Listen;
use banger_daemon::dns::Dns;
use banger_daemon::doctor::{Demand, Disks, SimSurvey, Survey};
use banger_daemon::log_level::LogControl;
use banger_daemon::metrics::{Figures, Metrics};
use banger_daemon::resolved::HostDns;
use banger_daemon::server;
use banger_daemon::socket::{Socket, ensure_dir, ensure_private_dir};
use banger_daemon::state::{About, AppState};
use banger_dns::{Authority, Lifetimes};
use banger_engine::sim::sim_ports;
use banger_engine::{Engine, Images, Settings};
use banger_host::{SimHost, SimOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a server may take to end, with everything that it waits for.
const END: Duration = Duration::from_secs(20);

/// What differs from the usual server.
pub(crate) struct Setup {
    pub(crate) sim: fn(&mut SimOptions),
    pub(crate) subnet: &'static str,
    /// Where images come from; from nowhere when absent.
    pub(crate) images: Option<Images>,
    /// The program that is put into initrds; a simulation needs none.
    pub(crate) guest_init: PathBuf,
    /// What the host is like; one that has everything when absent.
    pub(crate) survey: Option<Arc<dyn Survey>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sim: |_| {},
            subnet: "172.16.0.1/24",
            images: None,
            guest_init: PathBuf::new(),
            survey: None,
        }
    }
}

/// What a VM is by default.
pub(crate) fn usual() -> Demand {
    let VmSpec { memory, .. } = VmSpec::builtin_defaults();
    Demand { memory, overlay: OverlayMethod::Copy, disks: Disks::New, image: None, growth: None }
}

/// A running server. Its directory goes with it.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) sim: Arc<SimHost>,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Server {
    /// A server on which everything works at once.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// A server with a simulator that is set up by `sim`.
    pub(crate) async fn with_sim(sim: fn(&mut SimOptions)) -> Self {
        Self::with(Setup { sim, ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::over(tempfile::tempdir().unwrap(), setup).await
    }

    /// A server over a directory that an earlier one may have left.
    pub(crate) async fn over(dir: tempfile::TempDir, setup: Setup) -> Self {
        let (state_dir, runtime_dir) = (dir.path().join("s"), dir.path().join("r"));
        let layout = Layout::new(state_dir.clone(), runtime_dir.clone()).unwrap();
        ensure_dir(&layout.vms_dir()).unwrap();
        ensure_private_dir(&runtime_dir).unwrap();
        let mut options = SimOptions::new(state_dir.join("sim.json"));
        (setup.sim)(&mut options);
        let sim = Arc::new(SimHost::open(layout.clone(), options).unwrap());
        let settings = Settings {
            layout: layout.clone(),
            defaults: VmSpec::builtin_defaults(),
            bridge: BridgeSpec {
                name: "banger0".to_owned().try_into().unwrap(),
                subnet: setup.subnet.parse().unwrap(),
                host_access: HostAccess::Gateway,
                dns_port: None,
            },
            overlay: OverlayMethod::Copy,
            nameservers: Vec::new(),
            search: Vec::new(),
            images: setup.images.unwrap_or(Images::Simulated),
            guest_init: setup.guest_init,
            ssh_key: None,
        };
        let engine = Engine::open(settings, sim_ports(Arc::clone(&sim))).await.unwrap();
        let socket = runtime_dir.join("d.sock");
        let choice = || Choice { chosen: "x".to_owned(), because: "y".to_owned() };
        let about = About {
            version: build::this_program(),
            instance: layout.instance().clone(),
            socket: socket.clone(),
            bundle_dir: state_dir.join("bundle"),
            pin_file: dir.path().join("runtime-bundle.toml"),
            log_file: state_dir.join("log"),
            state_dir,
            runtime_dir,
            vmm: choice(),
            overlay: choice(),
            bridge: String::new(),
            settings: Vec::new(),
            survey: setup.survey.unwrap_or_else(|| {
                Arc::new(SimSurvey {
                    host: Arc::clone(&sim),
                    lacks: Vec::new(),
                    usual: usual(),
                    settings: Vec::new(),
                })
            }),
            simulated: true,
        };
        let (bound, listener) = Socket::bind(&socket).unwrap();
        let ending = CancellationToken::new();
        let authority = Authority::new(engine.names(), Lifetimes { positive: 5, negative: 0 });
        let (dns, _) = Dns::start(Listen::Off, None, authority, ending.clone()).await;
        let log = LogControl::new(LogLevel::Info, None);
        let (version, others) = (about.version.clone(), dns.clone());
        let figures = Figures { engine: engine.clone(), dns: others, version };
        let (metrics, _) = Metrics::start(Listen::Off, figures, ending.clone()).await;
        let host_dns = HostDns::none("it is a test");
        let state =
            AppState { engine, dns, host_dns, metrics, about: Arc::new(about), log, ending };
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let _bound = bound;
            server::run(listener, state, async { drop(stopped.await) }).await;
        });
        Self { dir, sim, socket, stop: Some(stop), running }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        client::ask(&self.socket, method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn open(&self, method: &str, path: &str, body: &str) -> Stream {
        client::open(&self.socket, method, path, body).await
    }

    /// Makes a VM and boots it.
    pub(crate) async fn run_vm(&self, name: &str) {
        let body = format!(r#"{{"name":"{name}","start":{{}}}}"#);
        self.ask("POST", "/v1/vms", &body).await.outcome();
    }

    /// Asks the server to end as a signal does.
    pub(crate) fn signal(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).expect("the server runs");
        }
    }

    /// Waits for the server's end; gives back its directory.
    pub(crate) async fn ended(self) -> tempfile::TempDir {
        timeout(END, self.running).await.expect("the server ends in time").unwrap();
        assert!(!self.socket.exists());
        self.dir
    }
}
