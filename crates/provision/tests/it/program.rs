//! The one place of these tests that starts a program: the server that they log in to.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    /// Starts sshd in the foreground with this configuration. It runs itself again for each
    /// connection, which takes an absolute path.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn start(configuration: &Path) -> Self {
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(configuration);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
