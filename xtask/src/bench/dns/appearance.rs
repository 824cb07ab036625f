//! From the start event until the name is answered.
//!
//! The event is the moment at which the VM's record says `running`, to the millisecond. From then on
//! the daemon saves the record and makes the next table of names; meanwhile the name is asked for
//! again and again, and the last answer's way back is in the figure too.

use super::{Asker, known};
use crate::bench::client;
use crate::bench::sample::Samples;
use crate::daemon::Daemon;
use anyhow::{Context, Result, anyhow};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

const ROUNDS: usize = 40;
const WARM_UP: usize = 2;

/// Starts the daemon's first VM again and again.
pub(super) fn measure(daemon: &Daemon, server: SocketAddr) -> Result<Samples> {
    let names = known(daemon)?;
    let vm = &names.first().context("there is no VM")?.name;
    let mut samples = Samples::default();
    for round in 0..WARM_UP + ROUNDS {
        client::kill(daemon, vm)?;
        let given_up = AtomicBool::new(false);
        let (there, outcome) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(server, vm, &given_up));
            let started = client::start(daemon, vm);
            given_up.store(started.is_err(), Ordering::Relaxed);
            let there = watching.join().map_err(|_panic| anyhow!("the asker panicked"))?;
            Ok::<_, anyhow::Error>((there?, started?.1))
        })?;
        if round >= WARM_UP {
            samples.add(client::after(&outcome.vm.changed_at, there)?);
        }
    }
    Ok(samples)
}

/// When the name was there.
fn watch(server: SocketAddr, vm: &str, given_up: &AtomicBool) -> Result<SystemTime> {
    let mut asker = Asker::of(server)?;
    let name = format!("{vm}.vm");
    while asker.ask(&name)?.0.is_none() {
        if given_up.load(Ordering::Relaxed) {
            return Err(anyhow!("the VM does not start"));
        }
    }
    Ok(SystemTime::now())
}
