//! The server from outside, over real sockets.

#![expect(clippy::unwrap_used, reason = "what tests share may panic as a test does")]

mod forwarding;
mod host_dig;
mod scene;
mod serving;
