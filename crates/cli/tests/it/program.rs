//! Starting the program under test.

use std::os::unix::process::CommandExt;
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

/// Has the program lead a session whose terminal is its standard input.
pub(crate) fn on_terminal(command: &mut Command) -> &mut Command {
    let lead = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec and makes two system calls; it neither
    // allocates nor takes a lock.
    #[expect(unsafe_code, reason = "only the child itself can begin a session")]
    unsafe {
        command.pre_exec(lead)
    }
}
