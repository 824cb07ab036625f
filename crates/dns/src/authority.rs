//! What all listeners share: the table of the moment, and how many queries were answered how.

use crate::respond::{Asker, Lifetimes, Reply, Transport, Verdict, respond, verdict};
use banger_core::dns::Table;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Answers queries from the table that is current when they come.
#[derive(Debug)]
pub struct Authority {
    table: watch::Receiver<Arc<Table>>,
    lifetimes: Lifetimes,
    answered: [AtomicU64; Verdict::ALL.len()],
}

impl Authority {
    /// An authority over the tables that come through the channel.
    pub const fn new(table: watch::Receiver<Arc<Table>>, lifetimes: Lifetimes) -> Self {
        Self { table, lifetimes, answered: [const { AtomicU64::new(0) }; Verdict::ALL.len()] }
    }

    /// The table of this moment.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// How many queries have been answered, refusals included.
    pub fn answered(&self) -> u64 {
        self.answered.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many queries have been answered in each way.
    pub fn verdicts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        let counts = self.answered.iter().map(|count| count.load(Ordering::Relaxed));
        Verdict::ALL.into_iter().zip(counts)
    }

    /// What comes of a packet; `None` for what gets no answer.
    pub(crate) fn respond(
        &self,
        packet: &[u8],
        asker: Asker,
        transport: Transport,
    ) -> Option<Reply> {
        let table = self.table();
        let reply = respond(packet, &table, self.lifetimes, asker, transport)?;
        let verdict = match &reply {
            Reply::Answer(response) => verdict(response),
            Reply::Elsewhere(_) => Verdict::PassedOn,
        };
        let at = Verdict::ALL.iter().position(|known| *known == verdict);
        self.answered[at.expect("each is among all")].fetch_add(1, Ordering::Relaxed);
        Some(reply)
    }
}
