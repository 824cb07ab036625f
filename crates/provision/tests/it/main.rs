//! Sessions with a real OpenSSH server, in network and mount namespaces of the test's own. Modules
//! named `host_…` need root.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod host_session;
mod host_workshop;
mod program;
mod scene;
