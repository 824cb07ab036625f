//! An sshd on loopback that lets one key in as root.

use crate::cmd::{Cmd, Running};
use crate::interrupt;
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where it answers. The network is the measurement's own, so any port is free.
pub(super) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5322);
/// How long it may take until it answers, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says of what both sides have agreed on.
const CIPHER: &str = "kex: client->server cipher: ";

/// A server that runs. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Sshd {
    running: Running,
    log: PathBuf,
    /// The keys, as files: the user's own, and the public one of the host.
    pub(super) key: PathBuf,
    pub(super) host_key: PathBuf,
    pub(super) known_hosts: PathBuf,
    _run: Run,
}

/// A `/run` of the measurement's own, in which is what sshd asks for.
#[derive(Debug)]
struct Run;

impl Sshd {
    /// Starts one, with new keys, and waits until it answers.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let file = |name: &str| dir.join(name);
        let (key, host_key) = (file("key"), file("host_key"));
        for key in [&key, &host_key] {
            let new = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"];
            Cmd::new("ssh-keygen").args(new).arg(key).silent().run()?;
        }
        let (public, known_hosts) = (host_key.with_extension("pub"), file("known_hosts"));
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let write = |path: &Path, text: String| {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let (ip, port) = (ADDRESS.ip(), ADDRESS.port());
        write(&known_hosts, format!("[{ip}]:{port} {}", read(&public)?))?;
        let config = file("sshd_config");
        let settings = format!(
            "ListenAddress {ip}\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nPasswordAuthentication no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nLogLevel DEBUG1\n",
            host_key.display(),
            key.with_extension("pub").display()
        );
        write(&config, settings)?;
        let run = Run::mount()?;
        let log = file("sshd.log");
        // It runs itself again for each connection, which takes an absolute path.
        let running = Cmd::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .silent()
            .spawn_to(&log)?;
        let server = Self { running, log, key, host_key: public, known_hosts, _run: run };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(ADDRESS).is_err() {
            interrupt::check()?;
            if self.running.wait_for(Duration::from_millis(20))? || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("sshd does not answer; it said:\n{said}");
            }
        }
        Ok(())
    }

    /// The cipher of what the last client sent.
    pub(super) fn last_cipher(&self) -> Result<String> {
        let log = &self.log;
        let said =
            fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
        cipher(&said).context("sshd tells no cipher")
    }

    pub(super) fn stop(self) -> Result<()> {
        // How it ends after SIGTERM says nothing about what it did.
        self.running.stop(PATIENCE).map(drop)
    }
}

impl Run {
    fn mount() -> Result<Self> {
        Cmd::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]).silent().run()?;
        let run = Self;
        fs::create_dir("/run/sshd").context("cannot create /run/sshd")?;
        Ok(run)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(error) = Cmd::new("umount").arg("/run").silent().clean_up().run() {
            eprintln!("note: /run stays another until this ends: {error}");
        }
    }
}

fn cipher(log: &str) -> Option<String> {
    let line = log.lines().rev().find_map(|line| line.split_once(CIPHER));
    line.and_then(|(_, rest)| rest.split(' ').next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cipher_is_that_of_the_last_connection() {
        let log = "debug1: kex: client->server cipher: chacha20-poly1305@openssh.com MAC: <implicit> x\n\
                   debug1: kex: client->server cipher: aes256-gcm@openssh.com MAC: <implicit> [preauth]\n\
                   debug1: kex: server->client cipher: aes128-ctr MAC: x [preauth]\n";
        assert_eq!(cipher(log).as_deref(), Some("aes256-gcm@openssh.com"));
        assert_eq!(cipher("Server listening on 127.0.0.1 port 5322.\n"), None);
    }
}
