//! What a test plays on: programs with deadlines, a site with a daemon of its own, a terminal, a
//! world beyond the host, servers in guests, a host's services, broken bundles, and a look at the
//! machine that does not trust banger.

mod bundle;
mod guest;
mod log;
mod names;
mod program;
mod pty;
mod remains;
mod repository;
mod services;
mod site;
mod transcript;
mod world;

pub(crate) use bundle::{Variant, kernel_module, marked_kernel};
pub(crate) use guest::{answer_datagrams, assert_web_reached_by_name};
pub(crate) use names::lookup;
pub(crate) use program::{Call, Running, tool};
pub(crate) use pty::{COLUMNS, ROWS, Terminal};
pub(crate) use repository::Repository;
pub(crate) use services::{
    ResolvConf, Service, address_of, end_network_manager, own_dir, start_bus, start_dnsmasq,
    start_firewalld, start_network_manager, start_resolved, start_unbound,
};
pub(crate) use site::{QUICK, Site, pid};
pub(crate) use transcript::Transcript;
pub(crate) use world::{Server, World};

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// Waits until something holds; says how long that took.
#[track_caller]
pub(crate) fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < limit, "after {limit:?} it still does not hold that {what}");
        std::thread::park_timeout(PERIOD);
    }
    since.elapsed()
}
