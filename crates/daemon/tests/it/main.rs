//! The daemon from outside: requests over its socket, in this process and against the real program,
//! all with a simulated host.

#![expect(clippy::unwrap_used, reason = "what tests share may panic as a test does")]

mod bundle;
mod client;
mod dns;
mod errors;
mod fake_resolved;
mod images;
mod lifecycle;
mod log_level;
mod logs;
mod metrics;
mod network;
mod process;
mod program;
mod resolved;
mod server;
mod shutdown;
