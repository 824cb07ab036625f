//! The drivers against fakes of their VMMs. Neither QEMU nor Firecracker is needed.

#![expect(clippy::unwrap_used, reason = "what tests share may panic as a test does")]

mod api_table;
mod fake_firecracker;
mod fake_qemu;
mod firecracker;
mod machine;
mod qmp;
