//! Real VMs from the command line. Each test has network and mount namespaces, a daemon and an
//! instance of its own; it needs root. A test that fails keeps its state directory and says where.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

mod stage;

mod boot_failures;
mod customize;
mod daemon;
mod deaths;
mod images;
mod import;
mod leaks;
mod life;
mod neighbours;
mod output;
mod qemu_customize;
mod qemu_doctor;
mod qemu_overrides;
mod refusals;
mod run;
mod sizes;
mod terminal;
mod testbed_firewalls;
mod testbed_names;
