//! The engine over the simulator.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod build;
mod build_vm;
mod crash;
mod customize;
mod faults;
mod forward;
mod gate;
mod images;
mod import;
mod lifecycle;
mod names;
mod permit;
mod promote;
mod world;
