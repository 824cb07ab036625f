//! The DNS server for the names of VMs.
//!
//! ```text
//!   socket ──► parse ──► Table::lookup ──► encode ──► socket
//!    Server    └──────── respond, pure ────────┘       ▲
//!                              │                       │
//!                        not ours, from a guest ──► Forwarder ──► upstream
//! ```
//!
//! What is known of a name is `banger_core::dns`; this crate puts it on the wire. It knows neither
//! the engine nor the host: it reads the table that it is handed, anew for each query, so a query
//! sees all of a change or nothing of it.

mod audience;
mod authority;
mod forward;
mod respond;
mod server;
mod share;
mod sockets;

pub use audience::Audience;
pub use authority::Authority;
pub use forward::{Forwarder, Upstreams};
pub use respond::{Asker, Lifetimes, Reply, Transport, Verdict, respond};
pub use server::Server;
