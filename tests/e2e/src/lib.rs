//! End-to-end tests: real VMs.
