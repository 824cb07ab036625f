//! bangerd, as a library so that its tests can run it in their own process.
//!
//! ```text
//!   startup ── config, choose ──► Settings, Ports ──► Engine
//!      │                                                │
//!      └── lock, socket ──► server ── http ─────────────┘
//! ```
//!
//! The daemon wires the parts and translates: HTTP to the engine's verbs, the engine's values to
//! wire types. It holds no state of VMs and decides nothing about them.

pub mod choose;
pub mod config;
pub mod dns;
pub mod doctor;
pub mod heap;
pub mod http;
pub mod listening;
pub mod lock;
pub mod log_level;
pub mod logging;
pub mod metrics;
pub mod preflight;
pub mod problem;
pub mod requirement;
pub mod resolved;
pub mod resolver;
pub mod server;
pub mod simulation;
pub mod socket;
pub mod startup;
pub mod state;
pub mod view;
