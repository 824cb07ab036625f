//! From arguments and environment to a daemon that serves: everything that happens once.
//!
//! The order matters: configuration and directories first, so that mistakes are told before
//! anything is touched; then the lock; only its holder opens the log, the records and the socket.

mod error;

pub use error::StartError;

use crate::choose::{self, Programs};
use crate::config::{Config, ConfigError, GuestDns, Listen, Nameservers, Source};
use crate::dns::{Dns, GuestListener};
use crate::doctor::{Demand, Disks, HostSurvey, SimSurvey, Survey};
use crate::lock::InstanceLock;
use crate::log_level::LogControl;
use crate::logging::{self, LOG_NAME};
use crate::metrics::{Figures, Metrics};
use crate::requirement::{self, Requirement};
use crate::resolved::{HostDns, Wish};
use crate::resolver::{FixedServers, HostServers, host_nameservers};
use crate::server;
use crate::simulation::{BootsFrom, Simulation};
use crate::socket::{self, Socket};
use crate::state::{About, AppState};
use banger_api::{Choice, build};
use banger_core::dirs::{Dirs, Surroundings};
use banger_core::dns::ZONE;
use banger_core::names::Layout;
use banger_core::vm::OverlayMethod;
use banger_dns::{Authority, Forwarder, Upstreams};
use banger_engine::sim::sim_ports;
use banger_engine::{Engine, Images, Ports, RealImporter, RealWorkbench, Settings, TcpReach};
use banger_host::resolved::Resolved;
use banger_host::{LinuxHost, SimHost};
use banger_image::bundle::{BundleSource, PIN_FILE};
use banger_vmm::detect_kvm;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The name of the simulator's file in the state directory.
const SIM_JOURNAL: &str = "sim-host.json";

/// The name of a file in the state directory that is there while the host's resolver is not to know
/// of VMs' names.
const DNS_OPT_OUT: &str = "host-dns-is-off";

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file, if it is not to be where it usually is.
    pub config: Option<PathBuf>,
    /// How to simulate the host, if it is to be simulated.
    pub sim: Option<Simulation>,
}

/// A daemon that is ready to serve. Dropping it removes its socket and gives up its lock.
#[derive(Debug)]
pub struct Daemon {
    state: AppState,
    listener: tokio::net::UnixListener,
    /// What is served beside the socket.
    beside: [(&'static str, JoinHandle<()>); 3],
    // Fields are dropped in this order: the socket goes before the lock does.
    _socket: Socket,
    _lock: InstanceLock,
}

impl Daemon {
    /// Brings everything up to the point where requests can be answered. Needs a Tokio runtime.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        let dirs = dirs()?;
        let config = read_config(options.config.as_deref(), &dirs)?;
        let layout = Layout::new(dirs.state_dir.clone(), dirs.runtime_dir.clone())?;
        socket::ensure_dir(&layout.vms_dir())?;
        socket::ensure_private_dir(&dirs.runtime_dir)?;
        let lock = InstanceLock::acquire(&dirs.state_dir)?;
        check_kind(&dirs.state_dir, options.sim.is_some())?;
        let log_file = dirs.state_dir.join(LOG_NAME);
        let filter = logging::init(&log_file, config.log_level)?;
        let log = LogControl::new(config.log_level, Some(filter));
        let version = build::this_program();
        tracing::info!(
            pid = std::process::id(),
            version = version.version,
            commit = version.commit,
            state_dir = %dirs.state_dir.display(),
            "the daemon starts"
        );
        let bundle = config.bundle(&dirs.state_dir);
        let world = match &options.sim {
            Some(simulation) => World::simulated(&config, &layout, simulation)?,
            None => World::real(&config, &layout, &bundle)?,
        };
        let about = About {
            version,
            instance: layout.instance().clone(),
            socket: dirs.socket(),
            state_dir: dirs.state_dir,
            runtime_dir: dirs.runtime_dir,
            log_file,
            bundle_dir: bundle.dir.clone(),
            pin_file: dirs.config_file.with_file_name(PIN_FILE),
            vmm: world.vmm.clone(),
            overlay: world.overlay.clone(),
            bridge: format!("{} {}", config.bridge.name, config.bridge.subnet),
            settings: config.settings(),
            survey: Arc::clone(&world.survey),
            simulated: options.sim.is_some(),
        };
        tracing::info!(vmm = about.vmm.chosen, because = about.vmm.because, "VMM chosen");
        tracing::info!(
            overlay = about.overlay.chosen,
            because = about.overlay.because,
            "overlay chosen"
        );
        // Before the engine: a daemon that may not serve must not touch a VM.
        let (socket, listener) = Socket::bind(&about.socket)?;
        // Before the engine too: it tells the firewall where guests' queries go.
        let guests = guest_listener(&config, options);
        let settings = world.settings(&config, layout, bundle, guests.as_ref());
        let engine = Engine::open(settings, world.ports).await?;
        let ending = CancellationToken::new();
        let authority = Authority::new(engine.names(), config.dns_lifetimes);
        let (dns, answering) =
            Dns::start(config.dns_listen, guests, authority, ending.clone()).await;
        let (version, others) = (about.version.clone(), dns.clone());
        let figures = Figures { engine: engine.clone(), dns: others, version };
        let (metrics, measuring) =
            Metrics::start(config.metrics_listen, figures, ending.clone()).await;
        let opt_out = about.state_dir.join(DNS_OPT_OUT);
        let (host_dns, telling) =
            host_dns(&config, options, &engine, &dns, opt_out, ending.clone());
        let state =
            AppState { engine, dns, host_dns, metrics, about: Arc::new(about), log, ending };
        let beside = [("DNS", answering), ("metrics", measuring), ("systemd-resolved", telling)];
        Ok(Self { state, listener, beside, _socket: socket, _lock: lock })
    }

    /// Serves until a signal or a client ends it.
    pub async fn serve(self) -> Result<(), StartError> {
        let shutdown = ending_signal().map_err(StartError::Signals)?;
        tracing::info!(socket = %self.state.about.socket.display(), "serving");
        server::run(self.listener, self.state, shutdown).await;
        for (what, task) in self.beside {
            if let Err(error) = task.await {
                tracing::error!(%error, "the task for {what} failed");
            }
        }
        tracing::info!("the daemon has ended");
        Ok(())
    }
}

/// What stands between the engine and the world, and why it is that.
#[derive(Debug)]
struct World {
    ports: Ports,
    vmm: Choice,
    overlay: Choice,
    method: OverlayMethod,
    images: fn(BundleSource) -> Images,
    guest_init: PathBuf,
    survey: Arc<dyn Survey>,
}

impl World {
    fn real(config: &Config, layout: &Layout, bundle: &BundleSource) -> Result<Self, StartError> {
        let beside = program_dir().map_err(StartError::Program)?;
        let guest_init = guest_init(&beside)?;
        let kvm = detect_kvm();
        let programs = Programs::find(config, &beside);
        let (kind, vmm) = choose::choose_vmm(config, &kvm, &programs);
        let (method, overlay) = choose::choose_overlay(config, &layout.vms_dir(), bundle);
        let host = Arc::new(LinuxHost::new(layout.clone()));
        let ports = Ports {
            processes: Arc::clone(&host) as _,
            host,
            drivers: programs.drivers(kind, &kvm),
            reach: Arc::new(TcpReach),
            importer: Arc::new(RealImporter),
            workbench: Arc::new(RealWorkbench),
        };
        let survey = Arc::new(HostSurvey {
            vms_dir: layout.vms_dir(),
            key: match &config.ssh_key {
                Some(own) => own.path.clone(),
                None => layout.state_dir().join("ssh/id_ed25519"),
            },
            vmm: kind,
            vmm_choice: vmm.clone(),
            program: programs.path(kind).to_owned(),
            kvm,
            overlay: method,
            overlay_choice: overlay.clone(),
            memory: config.defaults.memory,
            settings: config.settings(),
        });
        Ok(Self { ports, vmm, overlay, method, images: Images::Bundle, guest_init, survey })
    }

    fn simulated(
        config: &Config,
        layout: &Layout,
        simulation: &Simulation,
    ) -> Result<Self, StartError> {
        let options = simulation.options(layout.state_dir().join(SIM_JOURNAL));
        let (images, guest_init): (fn(BundleSource) -> Images, _) = match simulation.boots_from {
            BootsFrom::Nothing => (|_| Images::Simulated, PathBuf::new()),
            BootsFrom::Bundle => {
                let beside = program_dir().map_err(StartError::Program)?;
                (Images::Bundle, guest_init(&beside)?)
            }
        };
        let host = Arc::new(SimHost::open(layout.clone(), options)?);
        host.on_crash(|| std::process::abort());
        let ports = sim_ports(Arc::clone(&host));
        let kind = ports.drivers.first().expect("the simulator has a driver").kind();
        let choice = |chosen: &str| Choice {
            chosen: chosen.to_owned(),
            because: "the host is simulated".to_owned(),
        };
        Ok(Self {
            ports,
            vmm: choice(kind.as_str()),
            overlay: choice(OverlayMethod::Copy.as_str()),
            method: OverlayMethod::Copy,
            images,
            guest_init,
            survey: Arc::new(SimSurvey {
                host,
                lacks: simulation.lacks.clone(),
                usual: Demand {
                    memory: config.defaults.memory,
                    overlay: OverlayMethod::Copy,
                    disks: Disks::New,
                    image: None,
                    growth: None,
                },
                settings: config.settings(),
            }),
        })
    }

    fn settings(
        &self,
        config: &Config,
        layout: Layout,
        bundle: BundleSource,
        guests: Option<&GuestListener>,
    ) -> Settings {
        let mut bridge = config.bridge.clone();
        bridge.dns_port = guests.and_then(GuestListener::port);
        let (nameservers, search) = match (config.guest_dns, &config.nameservers) {
            (GuestDns::Auto, _) => (vec![bridge.subnet.gateway()], vec![ZONE.to_owned()]),
            (GuestDns::At(server), _) => (vec![server], vec![ZONE.to_owned()]),
            (GuestDns::Off, Nameservers::Auto) => (host_nameservers(), Vec::new()),
            (GuestDns::Off, Nameservers::List(servers)) => (servers.clone(), Vec::new()),
        };
        Settings {
            layout,
            defaults: config.defaults.clone(),
            bridge,
            overlay: self.method,
            nameservers,
            search,
            images: (self.images)(bundle),
            guest_init: self.guest_init.clone(),
            ssh_key: config.ssh_key.clone(),
        }
    }
}

/// The program that every guest starts with. The engine reads it when it opens: a guest without it is
/// not banger's.
fn guest_init(beside: &Path) -> Result<PathBuf, StartError> {
    let path = match std::env::var_os("BANGER_GUEST_INIT") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => beside.join("banger-init"),
    };
    let remedy = "build it, put it beside `bangerd`, or name it in `BANGER_GUEST_INIT`";
    requirement::check(&[Requirement {
        what: "banger-init",
        path: path.clone(),
        hints: vec![remedy.to_owned()],
    }])?;
    Ok(path)
}

/// The listener for guests, if they are to ask the daemon. Those of a simulation ask nobody, and
/// nothing of the machine is taken for them.
fn guest_listener(config: &Config, options: &Options) -> Option<GuestListener> {
    if options.sim.is_some() || config.guest_dns != GuestDns::Auto {
        return None;
    }
    let subnet = config.bridge.subnet;
    let upstreams: Arc<dyn Upstreams> = match &config.nameservers {
        Nameservers::Auto => Arc::new(HostServers::new(subnet)),
        Nameservers::List(servers) => Arc::new(FixedServers::new(servers)),
    };
    Some(GuestListener::bind(subnet, Forwarder::new(upstreams)))
}

/// Has the host's resolver told of VMs' names. One of a simulation's host is not.
fn host_dns(
    config: &Config,
    options: &Options,
    engine: &Engine,
    dns: &Dns,
    opt_out: PathBuf,
    ending: CancellationToken,
) -> (HostDns, JoinHandle<()>) {
    let because = match config.dns_listen {
        _ if options.sim.is_some() => "the host is simulated",
        Listen::Off => "`dns_listen` is `off`",
        Listen::At(_) => {
            let dns = dns.clone();
            let wish = Wish {
                bridge: config.bridge.name.clone(),
                subnet: config.bridge.subnet,
                names: engine.names(),
                server: Box::new(move || dns.address()),
                opt_out,
                connect: Box::new(|| Box::pin(Resolved::connect())),
            };
            return HostDns::start(wish, ending);
        }
    };
    (HostDns::none(because), tokio::spawn(async {}))
}

/// Refuses to mix simulated and real VMs in one state directory: each kind of daemon would take the
/// other's VMs for dead.
fn check_kind(state_dir: &Path, simulated: bool) -> Result<(), StartError> {
    let was_simulated = state_dir.join(SIM_JOURNAL).exists();
    let has_records = state_dir.join("state.db").exists();
    let state_dir = || state_dir.to_owned();
    match (simulated, was_simulated, has_records) {
        (true, false, true) => Err(StartError::RealState { state_dir: state_dir() }),
        (false, true, _) => Err(StartError::SimulatedState { state_dir: state_dir() }),
        _ => Ok(()),
    }
}

fn dirs() -> Result<Dirs, StartError> {
    let around = Surroundings {
        env: |name: &str| std::env::var_os(name),
        exists: |path: &Path| path.is_dir(),
        uid: rustix::process::geteuid().as_raw(),
    };
    Ok(Dirs::resolve(&around)?)
}

/// Reads the configuration. A file that was named must exist; the usual one need not.
fn read_config(named: Option<&Path>, dirs: &Dirs) -> Result<Config, ConfigError> {
    let is_named =
        named.is_some() || std::env::var_os("BANGER_CONFIG").is_some_and(|path| !path.is_empty());
    let path = named.unwrap_or(&dirs.config_file).to_owned();
    let file = match std::fs::read_to_string(&path) {
        Ok(text) => Some(Source { path, text }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => None,
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    Config::read(file.as_ref(), |name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })
}

fn program_dir() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Completes at the first SIGTERM, SIGINT or SIGHUP.
fn ending_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
