//! The pure heart of banger: names, units, specs, states, resources and plans.
//!
//! Nothing here does IO, reads a clock, draws a random number or awaits. What a caller got from the
//! outside world (entropy, facts about the host, file contents) comes in as an argument, so every
//! function can be tested by value.

pub mod dirs;
pub mod dns;
pub mod error;
pub mod forward;
pub mod guest;
pub mod id;
pub mod image;
pub mod ledger;
pub mod listen;
pub mod names;
pub mod net;
pub mod plan;
pub mod reference;
pub mod resource;
pub mod spec;
pub mod ssh_config;
pub mod state;
pub mod telling;
pub mod unit;
pub mod vm;
pub mod vm_name;
