//! The command line as its users see it: the built program against a daemon that gives prepared
//! answers.

mod autostart;
mod errors;
mod fake;
mod host_socket;
mod lifecycle;
mod reading;
mod run;
mod transcript;
mod usage;
