//! The command line as its users see it: the built program against a daemon that gives prepared
//! answers; in `failures` against a real one over a simulated host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]
#![allow(clippy::needless_pass_by_value, reason = "prepared answers are put together from values")]

mod autostart;
mod bundle;
mod codes;
mod customize;
mod customize_script;
mod dns;
mod doctor;
mod errors;
mod failures;
mod fake;
mod forward;
mod host_socket;
mod host_ssh_config;
mod image_build;
mod images;
mod lifecycle;
mod ports;
mod program;
mod pty;
mod reading;
mod run;
mod simulated;
mod ssh_config;
mod support;
mod transcript;
mod uninstall;
mod usage;
