//! Simulated means of a build: a guest with a small Debian in it, whose programs succeed unless the
//! host was told otherwise.

use crate::build::Workbench;
use async_trait::async_trait;
use banger_host::{HostError, ProgramScript, SimHost};
use banger_image::fsck::FsckError;
use banger_provision::{Call, Ended, Exit, Guest, LineSink, Login, SessionError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What every guest has.
const PACKAGES: [&str; 2] = ["base-files", "dpkg"];
const OS_RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\n";
/// What every program prints, on its standard error.
const SAID: &str = "simulated";

fn failed(what: &str) -> impl FnOnce(io::Error) -> HostError + use<> {
    let object = what.to_owned();
    move |source| HostError::Io { action: "simulate", object, source }
}

/// What is installed in a guest.
type Packages = Arc<Mutex<BTreeSet<String>>>;

#[derive(Debug)]
pub(super) struct SimWorkbench {
    host: Arc<SimHost>,
    /// Of each guest, by its host key: another session finds what an earlier one has installed.
    guests: Mutex<BTreeMap<String, Packages>>,
}

impl SimWorkbench {
    pub(super) fn new(host: Arc<SimHost>) -> Self {
        Self { host, guests: Mutex::default() }
    }

    fn packages(&self, login: &Login) -> Packages {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let at_first = || Arc::new(Mutex::new(PACKAGES.map(str::to_owned).into()));
        Arc::clone(guests.entry(login.host_key.clone()).or_insert_with(at_first))
    }

    fn work<T>(&self, what: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.host.work(what, || act().map_err(failed(what))).map_err(io::Error::other)
    }
}

#[async_trait]
impl Workbench for SimWorkbench {
    async fn enter(&self, login: &Login, _limit: Duration) -> Result<Arc<dyn Guest>, SessionError> {
        let entered = self.work("enter", || Ok(()));
        entered.map_err(|_injected| SessionError::Refused { address: login.address })?;
        let packages = self.packages(login);
        Ok(Arc::new(SimGuest { host: Arc::clone(&self.host), packages }))
    }

    fn check(&self, disk: &Path, _cancel: &AtomicBool) -> Result<(), FsckError> {
        let path = disk.to_owned();
        self.work("check", || Ok(())).map_err(|source| FsckError::Read { path, source })
    }

    /// What there is of a disk then begins as a file system does.
    fn take(&self, disk: &Path, target: &Path) -> io::Result<()> {
        let write = || fs::write(target, file_system()).map_err(failed("take"));
        self.host.take_disk(disk, write).map_err(io::Error::other)
    }

    fn copy_rootfs(&self, rootfs: &Path, target: &Path, _cancel: &AtomicBool) -> io::Result<()> {
        self.work("copy", || match rootfs.exists() {
            true => fs::copy(rootfs, target).map(drop),
            false => fs::write(target, file_system()),
        })
    }

    /// What is only simulated is a kernel, as far as anybody looks at it.
    fn copy(&self, file: &Path, target: &Path) -> io::Result<()> {
        self.work("copy", || match file.exists() {
            true => fs::copy(file, target).map(drop),
            false => fs::write(target, kernel()),
        })
    }

    fn digest(&self, _rootfs: &Path, _cancel: &AtomicBool) -> io::Result<String> {
        self.work("digest", || Ok("sparse-sha256:simulated".to_owned()))
    }

    fn sha256(&self, _file: &Path) -> io::Result<String> {
        self.work("sha256", || Ok("simulated".to_owned()))
    }
}

/// What begins as a file system does.
fn file_system() -> Vec<u8> {
    let mut head = vec![0; 0x1_1000];
    head[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    head
}

/// What begins as a kernel does: an ELF program of 64 bits for x86-64 (elf(5)).
fn kernel() -> Vec<u8> {
    let mut head = vec![0; 0x1000];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    [head[16], head[18]] = [2, 62];
    head
}

#[derive(Debug)]
struct SimGuest {
    host: Arc<SimHost>,
    packages: Packages,
}

impl SimGuest {
    fn answer(&self, argv: &[String]) -> String {
        let mut packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
        match argv.first().map(String::as_str) {
            Some("cat") => OS_RELEASE.to_owned(),
            Some("dpkg-query") => {
                packages.iter().map(|name| format!("{name}\t1.0\tall\tinstalled\n")).collect()
            }
            Some("apt-get") => {
                let mut words = argv.iter().skip_while(|word| *word != "--no-install-recommends");
                words.next();
                packages.extend(words.cloned());
                String::new()
            }
            _ => String::new(),
        }
    }
}

#[async_trait]
impl Guest for SimGuest {
    async fn run(&self, call: Call, lines: &mut LineSink<'_>) -> Result<Ended, SessionError> {
        let command = call.shown();
        let argv = call.argv().to_vec();
        call.drain().await?;
        // Elsewhere a turn of the other tasks comes with waiting for the network.
        tokio::task::yield_now().await;
        lines(SAID);
        let tail = vec![SAID.to_owned()];
        if let Some(ProgramScript { exit, says, .. }) = self.host.program(&command) {
            lines(&says);
            return Ok(Ended { exit: Exit::Code(exit), stdout: Vec::new(), tail: vec![says] });
        }
        let stdout = self.answer(&argv).into_bytes();
        match self.host.work(&command, || Ok(())) {
            Ok(()) => Ok(Ended { exit: Exit::Code(0), stdout, tail }),
            Err(HostError::Injected { .. }) if !self.host.is_crashed() => {
                Ok(Ended { exit: Exit::Code(1), stdout, tail })
            }
            // The daemon is dead, and waits no longer for the guest's own end.
            Err(_) => Err(SessionError::TimedOut { command, seconds: 0 }),
        }
    }
}
