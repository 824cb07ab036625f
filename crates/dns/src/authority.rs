//! What all listeners share: the table of the moment, and how many queries were answered.

use crate::respond::{Lifetimes, Reply, Transport, consider};
use banger_core::dns::Table;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Answers queries from the table that is current when they come.
#[derive(Debug)]
pub struct Authority {
    table: watch::Receiver<Arc<Table>>,
    lifetimes: Lifetimes,
    answered: AtomicU64,
}

impl Authority {
    /// An authority over the tables that come through the channel.
    pub const fn new(table: watch::Receiver<Arc<Table>>, lifetimes: Lifetimes) -> Self {
        Self { table, lifetimes, answered: AtomicU64::new(0) }
    }

    /// The table of this moment.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// How many queries have been answered, refusals included.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// What comes of a packet; `None` for what gets no answer.
    pub(crate) fn consider(&self, packet: &[u8], transport: Transport) -> Option<Reply> {
        let table = self.table();
        let reply = consider(packet, &table, self.lifetimes, transport)?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Some(reply)
    }
}
