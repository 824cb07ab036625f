//! How far a guest has come: its console, and its sshd.
//!
//! The floor looks as often as banger's monitor does. It would cost a booting guest time to be asked
//! more often, and the floor time to ask it less.

use crate::cmd::Running;
use crate::interrupt;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// For the guest to hand over, and for its sshd after that.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// How often the console is read at most.
const CONSOLE_PERIOD: Duration = Duration::from_millis(5);
/// How often to see whether the guest is still there.
const LOOK: Duration = Duration::from_secs(1);
/// The pause between two questions to a sshd that does not answer yet.
const SSH_PAUSE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];
/// How many times as long as a refusal took the pause after it is.
const SSH_FACTOR: u32 = 10;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long sshd may take to send its banner.
const BANNER: Duration = Duration::from_secs(15);

/// What banger-init's lines begin with.
const MARK: &str = "banger-init: ";

/// When the guest's kernel had come how far, by the guest's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uptimes {
    start: Duration,
    handover: Duration,
}

impl Uptimes {
    /// How long banger-init ran.
    pub(super) fn of_init(self) -> Duration {
        self.handover.saturating_sub(self.start)
    }

    /// Of the last boot that the console tells of; `None` as long as it has not handed over.
    pub(super) fn last_in(console: &str) -> Option<Self> {
        let (mut start, mut uptimes) = (None, None);
        for line in console.lines() {
            match stage(line) {
                Some(("start", at)) => (start, uptimes) = (Some(at), None),
                Some(("handover", at)) => {
                    uptimes = start.map(|start| Self { start, handover: at });
                }
                _ => {}
            }
        }
        uptimes
    }

    /// Of the last boot that a console's log tells of.
    pub(super) fn read(log: &Path) -> Result<Self> {
        let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        Self::last_in(&String::from_utf8_lossy(&bytes))
            .with_context(|| format!("{} does not tell of a whole boot", log.display()))
    }
}

/// A stage of banger-init and its uptime.
fn stage(line: &str) -> Option<(&str, Duration)> {
    #[derive(Deserialize)]
    struct Detail {
        uptime_ms: u64,
    }
    let (_, rest) = line.split_once(MARK)?;
    let (word, detail) = rest.split_once(' ')?;
    // A message of the kernel may follow on the same line.
    let detail = serde_json::Deserializer::from_str(detail).into_iter::<Detail>().next()?.ok()?;
    Some((word, Duration::from_millis(detail.uptime_ms)))
}

/// A console that is read as it grows.
#[derive(Debug)]
pub(super) struct Console {
    log: File,
    changes: OwnedFd,
    said: Vec<u8>,
}

impl Console {
    /// Reads the log from its beginning.
    pub(super) fn open(log: &Path) -> Result<Self> {
        let doing = || format!("cannot watch {}", log.display());
        let changes =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).with_context(doing)?;
        inotify::add_watch(&changes, log, WatchFlags::MODIFY).with_context(doing)?;
        Ok(Self { log: File::open(log).with_context(doing)?, changes, said: Vec::new() })
    }

    /// Waits until banger-init has handed over.
    pub(super) fn wait_for_init(&mut self, vmm: &Running) -> Result<Uptimes> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.log.read_to_end(&mut self.said).context("cannot read the console")?;
            if let Some(uptimes) = Uptimes::last_in(&String::from_utf8_lossy(&self.said)) {
                return Ok(uptimes);
            }
            interrupt::check()?;
            if vmm.wait_for(Duration::ZERO)? || Instant::now() > deadline {
                bail!("the guest did not come to its init; it said:\n{}", self.last_lines());
            }
            self.wait_for_change()?;
            vmm.wait_for(CONSOLE_PERIOD)?;
        }
    }

    fn wait_for_change(&self) -> Result<()> {
        let limit = Timespec::try_from(LOOK).context("such a long wait is not possible")?;
        match poll(&mut [PollFd::new(&self.changes, PollFlags::IN)], Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other.context("cannot wait for the console")?,
        };
        // What the events say does not matter: there is one file and one kind of event.
        let mut events = [0; 1024];
        rustix::io::read(&self.changes, &mut events).map(drop).context("cannot watch the console")
    }

    fn last_lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.said);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].iter().map(|line| format!("  {line}\n")).collect()
    }
}

/// Waits until sshd sends its banner.
pub(super) fn wait_for_ssh(ip: Ipv4Addr, vmm: &Running) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = Instant::now();
        if answers(ip) {
            return Ok(());
        }
        let [shortest, longest] = SSH_PAUSE;
        let pause = (asked.elapsed() * SSH_FACTOR).clamp(shortest, longest);
        interrupt::check()?;
        if vmm.wait_for(pause)? || Instant::now() > deadline {
            bail!("the guest came to its init, and its sshd does not answer");
        }
    }
}

fn answers(ip: Ipv4Addr) -> bool {
    let banner = || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((ip, 22)), CONNECT)?;
        stream.set_read_timeout(Some(BANNER))?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).map(|()| banner)
    };
    banner().is_ok_and(|banner| &banner == b"SSH-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "[ 0.1] Linux\nbanger-init: start {\"uptime_ms\":1200}\r\n\
                        [ 1.9] xbanger-init: handover {\"uptime_ms\":2000}[ 2.0] more\n";

    #[test]
    fn the_last_boot_counts_and_only_as_a_whole() {
        let first = Uptimes::last_in(BOOT).unwrap();
        assert_eq!(first.of_init(), Duration::from_millis(800));
        let begun = format!("{BOOT}banger-init: start {{\"uptime_ms\":1}}\n");
        assert_eq!(Uptimes::last_in(&begun), None);
        let torn = format!("{begun}banger-init: handover {{\"upt");
        assert_eq!(Uptimes::last_in(&torn), None);
        let second = format!("{begun}banger-init: handover {{\"uptime_ms\":31}}\n");
        assert_eq!(Uptimes::last_in(&second).unwrap().of_init(), Duration::from_millis(30));
    }

    #[test]
    fn a_console_is_followed_until_the_guest_hands_over() {
        let path = std::env::temp_dir().join(format!("xtask-console-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::park_timeout(Duration::from_millis(50));
                fs::write(path, BOOT).unwrap();
            }
        });
        let vmm = crate::cmd::Cmd::new("sleep").arg("60").silent();
        let vmm = vmm.spawn_to(Path::new("/dev/null")).unwrap();
        let uptimes = Console::open(&path).unwrap().wait_for_init(&vmm).unwrap();
        assert_eq!(uptimes, Uptimes::read(&path).unwrap());
        writer.join().unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_guest_that_ends_is_not_waited_for() {
        let vmm = crate::cmd::Cmd::new("true").silent();
        let vmm = vmm.spawn_to(Path::new("/dev/null")).unwrap();
        let mut console = Console::open(Path::new("/dev/null")).unwrap();
        let error = console.wait_for_init(&vmm).unwrap_err().to_string();
        assert!(error.contains("did not come to its init"), "{error}");
    }
}
