//! dnsmasq, with the same names from a hosts file.

use super::{Asker, Known};
use crate::cmd::{Cmd, Running};
use crate::interrupt;
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Its name, and so that of its only thread.
pub(super) const PROGRAM: &str = "dnsmasq";
/// How long it may take until it answers, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A dnsmasq that runs. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Rival(Running);

impl Rival {
    /// Starts it, and waits until it answers.
    pub(super) fn start(address: SocketAddr, names: &[Known], dir: &Path) -> Result<Self> {
        let (hosts, log) = (dir.join("hosts"), dir.join("dnsmasq.log"));
        let mut text = String::new();
        for Known { name, ip } in names {
            writeln!(text, "{ip} {name}.vm")?;
        }
        fs::write(&hosts, text).with_context(|| format!("cannot write {}", hosts.display()))?;
        let running = Cmd::new(PROGRAM)
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root"])
            .args([
                "--no-resolv",
                "--no-hosts",
                "--local=/vm/",
                "--local-ttl=5",
                "--bind-interfaces",
            ])
            .arg(format!("--listen-address={}", address.ip()))
            .arg(format!("--port={}", address.port()))
            .arg(format!("--addn-hosts={}", hosts.display()))
            .arg(format!("--pid-file={}", dir.join("dnsmasq.pid").display()))
            .spawn_to(&log)?;
        let rival = Self(running);
        let last = names.last().context("there are no names")?;
        let deadline = Instant::now() + PATIENCE;
        let name = format!("{}.vm", last.name);
        while !Asker::of(address)?.ask(&name).is_ok_and(|(found, _)| found == Some(last.ip)) {
            interrupt::check()?;
            if rival.0.wait_for(Duration::from_millis(50))? || Instant::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("dnsmasq does not answer; it said:\n{said}");
            }
        }
        Ok(rival)
    }

    pub(super) fn pid(&self) -> Pid {
        self.0.pid()
    }

    pub(super) fn stop(self) -> Result<()> {
        let status = self.0.stop(PATIENCE)?;
        if status.success() { Ok(()) } else { bail!("dnsmasq failed ({status})") }
    }
}

/// What it calls itself, as `dnsmasq 2.90`.
pub(super) fn version() -> Result<String> {
    let said = Cmd::new(PROGRAM).arg("--version").silent().read()?;
    let version = said.split_ascii_whitespace().nth(2).context("dnsmasq tells no version")?;
    Ok(format!("dnsmasq {version}"))
}
