//! `LinuxHost` on a real kernel. Modules named `host_…` need root; each of their tests has network
//! and mount namespaces and an instance of its own, and ends with an empty inventory.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

mod gatekeepers;
mod host_disk;
mod host_gates;
mod host_net;
mod host_output;
mod host_process;
mod host_snapshot;
mod host_traffic;
mod host_ways;
mod scene;
mod wire;
