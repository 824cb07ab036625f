//! How the daemon's own children ended.
//!
//! The kernel tells it once, to whoever waits first; several may want to know. So it is kept for a
//! while, and waiting and keeping happen under one lock.

use super::process::Identity;
use crate::Exit;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// How many ends are remembered.
const KEPT: usize = 256;

/// The ends that were seen last.
#[derive(Debug, Clone, Default)]
pub(super) struct Exits(Arc<Mutex<VecDeque<(Identity, Exit)>>>);

impl Exits {
    /// How a process that has ended did so. Reaps it if it is a child that was not reaped yet.
    pub(super) fn collect(&self, pidfd: BorrowedFd<'_>, identity: &Identity) -> Exit {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::PidFd(pidfd), options) else {
            return find(&kept, identity).unwrap_or(Exit::Unknown);
        };
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((identity.clone(), exit));
        exit
    }

    /// How the process ended, if that was collected.
    pub(super) fn known(&self, identity: &Identity) -> Option<Exit> {
        find(&self.0.lock().unwrap_or_else(PoisonError::into_inner), identity)
    }
}

fn find(kept: &VecDeque<(Identity, Exit)>, identity: &Identity) -> Option<Exit> {
    kept.iter().rev().find(|(known, _)| known == identity).map(|(_, exit)| *exit)
}
