//! End-to-end tests: real VMs, driven through the built programs as a user would.
//!
//! The library is empty; the tests are in `tests/it`. They run alike on every VMM and overlay that
//! the daemon can be told to use:
//!
//! | variable | meaning | when absent |
//! |---|---|---|
//! | `BANGER_TEST_PROGRAMS` | the directory with `banger`, `bangerd` and `banger-init` | an error |
//! | `BANGER_BUNDLE_DIR` | the runtime bundle | an error |
//! | `BANGER_VMM`, `BANGER_OVERLAY` | settings for the daemon | its own choice |
//! | `BANGER_GUEST_INIT` | `banger-init`, where it is not beside `bangerd` | beside `bangerd` |
//! | `BANGER_TEST_KEEP` | keep every test's directory, not only a failed one's | failed ones only |
