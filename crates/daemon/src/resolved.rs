//! The host's own resolver: systemd-resolved is told to ask the daemon for VMs' names, and for
//! nothing else.
//!
//! ```text
//!   a VM runs ──┐
//!   resolved ───┼──► turn: is it as it should be? ──► Resolved::ensure, or remove
//!   an order ───┤
//!   a period ───┘
//! ```
//!
//! What is told is a setting of the bridge's link, so it is there while a VM runs, and nothing has to
//! be found after a crash. Whoever else changes it (a restart of resolved, a network manager that
//! takes to the link, a link that is made anew) is overruled at the next turn. VMs do not depend on
//! any of it: without D-Bus or resolved the daemon says so, once, and serves all the same.

mod error;
mod recipe;

pub use error::HostDnsError;
pub use recipe::{Signs, recipe};

use banger_api::{HostDnsState, HostDnsStatus};
use banger_core::dns::{Table, ZONE, reverse_zones};
use banger_core::error::chain;
use banger_core::names::IfName;
use banger_core::net::Subnet;
use banger_host::resolved::{LinkDns, Presence, Resolved, ResolvedError, link_number};
use futures_util::future::BoxFuture;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often what is set is looked at, though nothing has told of a change.
const PERIOD: Duration = Duration::from_secs(5);
/// The same after a failure: resolved learns of a new link at its own pace.
const PAUSE: Duration = Duration::from_secs(1);
/// A subnet that is more reverse zones than this is left to be asked for by name alone.
const MOST_ZONES: usize = 16;

/// How the bus is reached.
pub type Connect =
    Box<dyn Fn() -> BoxFuture<'static, Result<Resolved, ResolvedError>> + Send + Sync>;

/// What is to be told, and by what it is known whether.
pub struct Wish {
    /// The bridge: its link bears the setting.
    pub bridge: IfName,
    /// Its subnet.
    pub subnet: Subnet,
    /// The names of the VMs that run.
    pub names: watch::Receiver<Arc<Table>>,
    /// Where queries are answered at this moment.
    pub server: Box<dyn Fn() -> Option<SocketAddr> + Send + Sync>,
    /// A file that is there while the user wants none of it.
    pub opt_out: PathBuf,
    /// How the bus is reached.
    pub connect: Connect,
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish").field("bridge", &self.bridge).finish_non_exhaustive()
    }
}

/// Whether the user wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// As without a word from them.
    Yes,
    /// Until they say otherwise.
    No,
}

#[derive(Debug)]
struct Order {
    wanted: Wanted,
    done: oneshot::Sender<io::Result<()>>,
}

/// The integration as the rest of the daemon sees it; clones are the same one.
#[derive(Debug, Clone)]
pub struct HostDns {
    status: watch::Receiver<HostDnsStatus>,
    orders: mpsc::Sender<Order>,
}

impl HostDns {
    /// One that never does anything, and says why.
    pub fn none(because: &str) -> Self {
        let problem = Some(because.to_owned());
        let (_, status) = watch::channel(HostDnsStatus { problem, ..HostDnsStatus::default() });
        Self { status, orders: mpsc::channel(1).0 }
    }

    /// Keeps resolved told until `ending` is cancelled. The task ends with that.
    pub fn start(wish: Wish, ending: CancellationToken) -> (Self, JoinHandle<()>) {
        let state = HostDnsState::Waiting;
        let (shown, status) = watch::channel(HostDnsStatus { state, ..HostDnsStatus::default() });
        let (orders, taken) = mpsc::channel(1);
        let keeper = Keeper { wish, shown, orders: taken, bus: None, told: None, ending };
        (Self { status, orders }, tokio::spawn(keeper.keep()))
    }

    /// How it stands.
    pub async fn status(&self) -> HostDnsStatus {
        let status = self.status.borrow().clone();
        if status.state != HostDnsState::Absent {
            return status;
        }
        let looked = tokio::task::spawn_blocking(|| recipe(&Signs::look())).await;
        HostDnsStatus { recipe: looked.ok(), ..status }
    }

    /// Switches it on or off, for this daemon and later ones.
    pub async fn switch(&self, wanted: Wanted) -> Result<HostDnsStatus, HostDnsError> {
        let (done, answer) = oneshot::channel();
        let gone = || {
            let because = self.status.borrow().problem.clone();
            HostDnsError::NotHere { because: because.unwrap_or("the daemon ends".to_owned()) }
        };
        if self.orders.send(Order { wanted, done }).await.is_err() {
            return Err(gone());
        }
        answer.await.map_err(|_ended| gone())?.map_err(HostDnsError::Keep)?;
        Ok(self.status().await)
    }
}

/// The task that does it.
struct Keeper {
    wish: Wish,
    shown: watch::Sender<HostDnsStatus>,
    orders: mpsc::Receiver<Order>,
    bus: Option<Resolved>,
    /// The link for which resolved was told.
    told: Option<u32>,
    ending: CancellationToken,
}

/// What ends the wait for the next turn.
enum Event {
    Ending,
    Order(Order),
    Other,
}

impl Keeper {
    async fn keep(mut self) {
        let mut ordered: Option<(oneshot::Sender<io::Result<()>>, io::Result<()>)> = None;
        loop {
            let status = self.turn().await;
            let pause = if status.state == HostDnsState::Failed { PAUSE } else { PERIOD };
            self.show(status);
            if let Some((done, kept)) = ordered.take() {
                // Who has asked may have gone.
                drop(done.send(kept));
            }
            match self.event(pause).await {
                Event::Ending => break,
                Event::Other => {}
                Event::Order(Order { wanted, done }) => {
                    ordered = Some((done, self.remember(wanted)));
                }
            }
        }
        if let Err(error) = self.withdraw().await {
            tracing::warn!(error = chain(&error), "systemd-resolved still asks for VMs' names");
        }
    }

    async fn event(&mut self, pause: Duration) -> Event {
        let Self { wish, orders, bus, ending, .. } = self;
        let owner = async {
            match bus {
                Some(bus) => bus.changed().await,
                None => pending().await,
            }
        };
        let names = async {
            if wish.names.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = ending.cancelled() => Event::Ending,
            Some(order) = orders.recv() => Event::Order(order),
            () = owner => Event::Other,
            () = names => Event::Other,
            () = sleep(pause) => Event::Other,
        }
    }

    /// Makes it as it should be, and says how it stands.
    async fn turn(&mut self) -> HostDnsStatus {
        match self.attempt().await {
            Ok(status) => status,
            Err(error) => {
                let state = match error {
                    // The next turn connects anew.
                    ResolvedError::Bus(_) => HostDnsState::Absent,
                    ResolvedError::Refused { .. } => HostDnsState::Failed,
                };
                if state == HostDnsState::Absent {
                    self.bus = None;
                }
                HostDnsStatus { problem: Some(chain(&error)), ..status(state) }
            }
        }
    }

    async fn attempt(&mut self) -> Result<HostDnsStatus, ResolvedError> {
        if self.wish.opt_out.exists() {
            self.withdraw().await?;
            let problem = Some("`banger dns uninstall` has switched it off".to_owned());
            return Ok(HostDnsStatus { problem, ..status(HostDnsState::Off) });
        }
        let bus = match self.bus.take() {
            Some(bus) => self.bus.insert(bus),
            None => self.bus.insert((self.wish.connect)().await?),
        };
        let absent = |problem: &str| HostDnsStatus {
            problem: Some(problem.to_owned()),
            ..status(HostDnsState::Absent)
        };
        match bus.presence().await? {
            Presence::Here => {}
            Presence::Absent => return Ok(absent("systemd-resolved does not run")),
            Presence::Elsewhere => {
                return Ok(absent("the systemd-resolved on the bus serves another network"));
            }
        }
        // A bridge that has no VM may be somebody else's.
        let runs = !self.wish.names.borrow_and_update().is_empty();
        let link = link_number(self.wish.bridge.as_str()).filter(|_| runs);
        let (Some(link), Some(server)) = (link, (self.wish.server)()) else {
            self.withdraw().await?;
            let problem = runs.then(|| "the daemon does not answer queries".to_owned());
            return Ok(HostDnsStatus { problem, ..status(HostDnsState::Waiting) });
        };
        let dns = LinkDns { server: reachable(server), domains: domains(self.wish.subnet) };
        bus.ensure(link, &dns).await.map(drop)?;
        self.told = Some(link);
        let link = Some(self.wish.bridge.to_string());
        Ok(HostDnsStatus { link, ..status(HostDnsState::Configured) })
    }

    /// Has resolved ask nobody for our sake. What went with its link is gone already.
    async fn withdraw(&mut self) -> Result<(), ResolvedError> {
        if let (Some(link), Some(bus)) = (self.told, &self.bus) {
            bus.remove(link).await.map(drop)?;
        }
        self.told = None;
        Ok(())
    }

    fn remember(&self, wanted: Wanted) -> io::Result<()> {
        let file = &self.wish.opt_out;
        match wanted {
            Wanted::No => std::fs::write(file, "`banger dns install` removes this file\n"),
            Wanted::Yes => match std::fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Shows how it stands; it is logged when that is new.
    fn show(&self, status: HostDnsStatus) {
        let is_new = self.shown.send_replace(status.clone()) != status;
        let problem = status.problem.unwrap_or_default();
        match status.state {
            _ if !is_new => {}
            HostDnsState::Configured => {
                let link = status.link.unwrap_or_default();
                tracing::info!(link, "systemd-resolved asks for VMs' names");
            }
            HostDnsState::Failed => tracing::warn!(problem, "systemd-resolved is not told"),
            HostDnsState::Absent => tracing::info!(
                problem,
                "the host's programs do not know VMs' names; `banger dns status` says what to do"
            ),
            HostDnsState::Off | HostDnsState::Waiting => {
                tracing::debug!(problem, "systemd-resolved is not to ask for VMs' names");
            }
        }
    }
}

fn status(state: HostDnsState) -> HostDnsStatus {
    HostDnsStatus { state, ..HostDnsStatus::default() }
}

/// The domains that are ours.
fn domains(subnet: Subnet) -> Vec<String> {
    let reverse: Vec<String> = reverse_zones(subnet).take(MOST_ZONES + 1).collect();
    let reverse = if reverse.len() > MOST_ZONES { Vec::new() } else { reverse };
    std::iter::once(ZONE.to_owned()).chain(reverse).collect()
}

/// An address by which this machine reaches the server.
fn reachable(server: SocketAddr) -> SocketAddr {
    let ip = match server.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, server.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_of_many_zones_is_only_known_by_name() {
        let of = |subnet: &str| domains(subnet.parse().unwrap());
        assert_eq!(of("172.16.0.1/24"), ["vm", "0.16.172.in-addr.arpa"]);
        assert_eq!(of("172.16.0.1/16"), ["vm", "16.172.in-addr.arpa"]);
        assert_eq!(of("10.9.8.1/23"), ["vm", "8.9.10.in-addr.arpa", "9.9.10.in-addr.arpa"]);
        assert_eq!(of("172.16.0.1/30").len(), 5);
        assert_eq!(of("172.16.0.1/17"), ["vm"]);
    }

    #[test]
    fn a_server_on_all_addresses_is_asked_at_loopback() {
        let shown = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:53"), "127.0.0.1:53");
        assert_eq!(shown("[::]:53"), "[::1]:53");
        assert_eq!(shown("127.0.0.1:42069"), "127.0.0.1:42069");
    }
}
