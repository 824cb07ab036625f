//! bangerd: the daemon that runs VMs. It stays in the foreground; whoever starts it detaches it.

use banger_api::{ErrorBody, Version, build};
use banger_core::error::{fault, render_manual};
use banger_core::resource::Gatekeeper;
use banger_core::unit::MiB;
use banger_daemon::heap;
use banger_daemon::http;
use banger_daemon::problem;
use banger_daemon::simulation::{BootsFrom, Lack, Simulation};
use banger_daemon::startup::{Daemon, Options, StartError};
use banger_host::{Fault, ForeignLink, GuestScript, ProgramScript};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The daemon that runs banger's VMs.
///
/// It stays in the foreground and logs to `bangerd.log` in its state directory. SIGTERM and SIGINT
/// end it; VMs go on running, and the next daemon takes them up again.
///
/// The environment names its places: `BANGER_CONFIG`, `BANGER_STATE_DIR`, `BANGER_RUNTIME_DIR`,
/// `BANGER_CACHE_DIR`, `BANGER_GUEST_INIT`. Each key of the configuration file can be given as
/// `BANGER_<KEY>` too, such as `BANGER_LOG_LEVEL`.
#[derive(Debug, Parser)]
#[command(name = "bangerd", disable_help_subcommand = true)]
struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Simulate the host: nothing on this machine is touched but the daemon's own directories
    #[arg(long)]
    sim: bool,
    /// With --sim: what goes wrong, as `ensure:tap:2` or `crash-after:5`; several with commas
    #[arg(long, value_name = "FAULTS", requires = "sim", value_delimiter = ',')]
    sim_fault: Vec<Fault>,
    /// With --sim: how guests behave, as `normal`, `panics` or `fails-at:network`
    #[arg(long, value_name = "BEHAVIOUR", requires = "sim", default_value_t)]
    sim_guest: GuestScript,
    /// With --sim: how long guests take to boot and to end, in milliseconds
    #[arg(long, value_name = "MS", requires = "sim", default_value_t = 0)]
    sim_pace: u64,
    /// With --sim: firewalls that let nothing of guests through, as `iptables-nft` or `firewalld`
    #[arg(long, value_name = "FIREWALLS", requires = "sim", value_delimiter = ',')]
    sim_gatekeeper: Vec<Gatekeeper>,
    /// With --sim: what the host lacks, as `kvm`, `tun` or `nft`; several with commas
    #[arg(long, value_name = "THINGS", requires = "sim", value_delimiter = ',')]
    sim_lack: Vec<Lack>,
    /// With --sim: an interface that is somebody else's, as `theirs0` or `theirs0=10.0.0.1/24`
    #[arg(long, value_name = "LINK", requires = "sim")]
    sim_link: Vec<ForeignLink>,
    /// With --sim: what all disks may measure together, as `8G`
    #[arg(long, value_name = "SIZE", requires = "sim")]
    sim_capacity: Option<MiB>,
    /// With --sim: how a program in a guest fails, told by words of its command line, with exit code
    /// and last line, as `script-1=3:no otter`
    #[arg(long, value_name = "WORDS=EXIT:LINE", requires = "sim")]
    sim_program: Vec<ProgramScript>,
    /// With --sim: take images from the runtime bundle, whose files have to be there
    #[arg(long, requires = "sim")]
    sim_bundle: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the OpenAPI document of the daemon's API
    #[command(hide = true)]
    Openapi,
    /// Print the document of all error codes
    Errors,
}

impl Args {
    /// Reads the command line. Ends the program for `--help`, `--version` and a wrong usage.
    fn read() -> Self {
        let Version { version, commit, build, .. } = build::this_program();
        let line = format!("{version} (commit {commit}, build {build})");
        let matches = Self::command().version(line).get_matches();
        Self::from_arg_matches(&matches).expect("both come from the same type")
    }
}

fn main() -> ExitCode {
    let args = Args::read();
    if let Some(Command::Openapi) = args.command {
        return print_openapi();
    }
    if let Some(Command::Errors) = args.command {
        return print(&render_manual());
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn run(args: Args) -> Result<(), StartError> {
    let sim = args.sim.then(|| Simulation {
        faults: args.sim_fault,
        guest: args.sim_guest,
        pace: Duration::from_millis(args.sim_pace),
        gatekeepers: args.sim_gatekeeper,
        lacks: args.sim_lack,
        links: args.sim_link,
        capacity: args.sim_capacity,
        programs: args.sim_program,
        boots_from: if args.sim_bundle { BootsFrom::Bundle } else { BootsFrom::Nothing },
    });
    let options = Options { config: args.config, sim };
    heap::share();
    // Requests are few and short; two threads keep the daemon small.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let result = runtime.block_on(async { Daemon::start(&options).await?.serve().await });
    // A call to the host that hangs must not keep the daemon.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn print_openapi() -> ExitCode {
    let text = http::document().to_pretty_json().expect("a document has string keys only");
    print(&format!("{text}\n"))
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells why the daemon does not start.
fn fail(error: &StartError) -> ExitCode {
    let body = match error {
        StartError::Engine(error) => problem::describe(error),
        _ => ErrorBody::of(error),
    };
    tracing::error!(error = fault(error), "the daemon does not start");
    let mut text = format!("error: {}\n", body.message);
    let lines = body.causes.iter().map(|cause| ("caused by", cause));
    for (label, line) in lines.chain(body.hints.iter().map(|hint| ("hint", hint))) {
        text.push_str(&format!("{label}: {line}\n"));
    }
    // Nobody may be there to read it; the exit code tells the same.
    drop(io::stderr().write_all(text.as_bytes()));
    ExitCode::from(1)
}
