//! The daemon's DNS server beside dnsmasq, and how soon a VM that starts has its name.
//!
//! ```text
//! asker, dnsperf ──► bangerd --sim, 1,000 VMs run  ◄── appearance
//!       │
//!       └──────────► dnsmasq, the same names           bangerd --sim, 1 VM  ◄── appearance
//! ```
//!
//! All is asked by UDP on loopback. Each round asks both servers: with one query outstanding, by a client
//! of our own on their processor, in alternation after every few names; and with 100, by `dnsperf`, the other
//! one first in every second round.

mod appearance;
mod asker;
mod load;
mod place;
mod report;
mod rival;

pub(super) use report::render;

use super::client::banger;
use super::lists::fill;
use super::sample::Samples;
use super::scratch::Scratch;
use crate::daemon::{Daemon, Home};
use crate::interrupt;
use crate::packages::Package;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use asker::Asker;
use load::Load;
use place::OneProcessor;
use rival::Rival;
use rustix::process::Pid;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What is needed beside the packages of every task.
pub(super) const PACKAGES: [Package; 2] = [
    ("dnsmasq-base", "is what the DNS server is measured against"),
    ("dnsperf", "asks many names"),
];

const ROUNDS: usize = 10;
const WARM_UP: usize = 1;
/// How often a lone query asks for each name in a round.
const TIMES: usize = 10;
/// How many names one server is asked for before it is the other one's turn: a disturbance lasts longer, and
/// so meets both.
const TURN: usize = 100;
/// The VMs that run beside the one that starts, in each daemon.
const HOSTS: [(&str, usize, u16); 2] = [("bench-dns-1", 1, 5301), ("bench-dns-1000", 1000, 5302)];
const RIVAL_PORT: u16 = 5303;
/// How many VMs are started by one command.
const AT_ONCE: usize = 50;

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Dns {
    rival: String,
    ours: Side,
    theirs: Side,
    /// By how many VMs there are, how long a name takes to be there.
    appearances: Vec<(usize, Samples)>,
}

/// What was measured of one server, round by round.
#[derive(Debug, Default)]
struct Side {
    /// With one query outstanding.
    p50: Samples,
    p99: Samples,
    loads: Vec<Load>,
}

/// A name that both servers know.
#[derive(Debug, Deserialize)]
struct Known {
    name: String,
    ip: Ipv4Addr,
}

/// A server that is asked.
#[derive(Debug, Clone, Copy)]
struct Server {
    address: SocketAddr,
    pid: Pid,
    /// The name of its thread that answers datagrams.
    thread: &'static str,
}

/// Measures, in a network of its own.
pub(super) fn measure(workspace: &Workspace) -> Result<Dns> {
    let mut scratches = Vec::new();
    for (task, ..) in HOSTS {
        scratches.push(Scratch::new(workspace, task)?);
    }
    let scratch = Scratch::new(workspace, "bench-dns")?;
    let mut daemons = Vec::new();
    let measured = with_daemons(workspace, &scratch, &mut daemons);
    let mut stopped = Ok(());
    for daemon in daemons {
        stopped = stopped.and(daemon.stop());
    }
    let dns = measured?;
    stopped?;
    Ok(dns)
}

fn with_daemons(
    workspace: &Workspace,
    scratch: &Scratch,
    daemons: &mut Vec<Daemon>,
) -> Result<Dns> {
    for (task, count, port) in HOSTS {
        let config = format!("subnet = \"172.16.0.1/16\"\ndns_listen = \"127.0.0.1:{port}\"\n");
        let home = Home::new(workspace, task, Profile::Release).configured(config).simulated();
        daemons.push(Daemon::start(home)?);
        let Some(daemon) = daemons.last() else { continue };
        eprintln!("creating and starting {count} VMs");
        fill(daemon, count)?;
        start_all(daemon)?;
    }
    let mut dns = Dns::default();
    for (daemon, (_, count, port)) in daemons.iter().zip(HOSTS) {
        dns.appearances.push((count, appearance::measure(daemon, loopback(port))?));
    }
    let Some(daemon) = daemons.last() else { bail!("there is no daemon") };
    let (_, _, port) = HOSTS[HOSTS.len() - 1];
    let ours = Server { address: loopback(port), pid: daemon.pid(), thread: "dns-datagrams" };
    dns.compare(ours, &known(daemon)?, scratch)?;
    Ok(dns)
}

impl Dns {
    fn compare(&mut self, ours: Server, names: &[Known], scratch: &Scratch) -> Result<()> {
        let queries = load::write_queries(names, scratch.dir())?;
        let rival = Rival::start(loopback(RIVAL_PORT), names, scratch.dir())?;
        self.rival = rival::version()?;
        let theirs =
            Server { address: loopback(RIVAL_PORT), pid: rival.pid(), thread: rival::PROGRAM };
        let compared = (0..WARM_UP + ROUNDS).try_for_each(|round| {
            if round == WARM_UP {
                (self.ours, self.theirs) = <_>::default();
            }
            interrupt::check()?;
            let lone = ask_in_turns([ours, theirs], names)?;
            let mut order = [(&mut self.ours, ours), (&mut self.theirs, theirs)];
            for ((side, _), times) in order.iter_mut().zip(lone) {
                side.p50.add(times.quantile(0.5));
                side.p99.add(times.quantile(0.99));
            }
            if round % 2 == 1 {
                order.reverse();
            }
            for (side, server) in order {
                interrupt::check()?;
                side.loads.push(load::run(server, &queries)?);
            }
            eprintln!("round {} of {}", round + 1, WARM_UP + ROUNDS);
            Ok(())
        });
        let stopped = rival.stop();
        compared.and(stopped)
    }
}

/// Asks each server for every name [`TIMES`] times, with one query outstanding; how long each took.
fn ask_in_turns(servers: [Server; 2], names: &[Known]) -> Result<[Samples; 2]> {
    let [ours, theirs] = servers;
    let mut sides = [Lone::of(ours)?, Lone::of(theirs)?];
    let _until_the_end = OneProcessor::with(&servers.map(|server| (server.pid, server.thread)))?;
    let turns = (0..TIMES).flat_map(|_| names.chunks(TURN));
    for (number, turn) in turns.enumerate() {
        let first = number % 2;
        sides[first].ask(turn)?;
        sides[1 - first].ask(turn)?;
    }
    Ok(sides.map(|side| side.times))
}

/// A client with one query outstanding, and how long the answers took.
struct Lone {
    asker: Asker,
    server: SocketAddr,
    times: Samples,
}

impl Lone {
    fn of(server: Server) -> Result<Self> {
        let asker = Asker::of(server.address)?;
        Ok(Self { asker, server: server.address, times: Samples::default() })
    }

    fn ask(&mut self, names: &[Known]) -> Result<()> {
        for Known { name, ip } in names {
            let (answered, took) = self.asker.ask(&format!("{name}.vm"))?;
            if answered != Some(*ip) {
                bail!("{} answers {answered:?} for {name}, not {ip}", self.server);
            }
            self.times.add(took);
        }
        Ok(())
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn known(daemon: &Daemon) -> Result<Vec<Known>> {
    #[derive(Deserialize)]
    struct List {
        vms: Vec<Known>,
    }
    let text = banger(daemon).args(["--json", "vm", "list"]).read()?;
    let list: List = serde_json::from_str(&text).context("cannot understand the list")?;
    Ok(list.vms)
}

fn start_all(daemon: &Daemon) -> Result<()> {
    let names: Vec<String> = known(daemon)?.into_iter().map(|known| known.name).collect();
    for names in names.chunks(AT_ONCE) {
        interrupt::check()?;
        let start = banger(daemon).args(["--json", "vm", "start", "--wait", "none"]);
        start.args(names).timeout(Duration::from_secs(300)).read()?;
    }
    Ok(())
}
