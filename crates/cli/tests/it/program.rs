//! Starting the program under test.

use std::path::Path;
use std::process::{Command, Stdio};

/// The program under test.
pub(crate) const BANGER: &str = env!("CARGO_BIN_EXE_banger");

/// OpenSSH's client.
#[expect(clippy::disallowed_methods, reason = "the test asks the real ssh")]
pub(crate) fn ssh() -> Command {
    Command::new("ssh")
}

/// The program with nothing of the tester's environment but `PATH`.
#[expect(clippy::disallowed_methods, reason = "the test runs the program as a user would")]
pub(crate) fn command(program: &Path, runtime_dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", runtime_dir)
        .env("BANGER_RUNTIME_DIR", runtime_dir)
        .env("BANGER_NO_AUTOSTART", "1")
        .stdin(Stdio::null());
    command
}
