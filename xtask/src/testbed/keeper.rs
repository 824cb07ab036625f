//! The process that keeps the host running, in a private network.
//!
//! ```text
//! booting ─ sshd answers, all is mounted ─> up ─ QEMU ended, or the host is frozen ─> booting
//!    └─ not in time, too often ─> failed
//! ```
//!
//! A host that is emulated freezes now and then, with every thread of QEMU asleep. It is then started
//! again, and the record says so.

use super::entry;
use super::machine::{self, Acceleration, SSH_PORT};
use super::place::{Disks, Place};
use super::process::Process;
use super::record::{Phase, Record, Restart, now};
use crate::cmd::{Cmd, Running};
use crate::enclosure;
use crate::interrupt::{Urgency, urgency};
use anyhow::{Result, bail};
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For the first process to hand over to the keeper.
const HANDOVER: Duration = Duration::from_secs(10);
/// A boot under emulation takes 15 s, and some minutes where others keep the processors busy.
const BOOT: Duration = Duration::from_secs(480);
/// After so many boots in a row that led to nothing, something else is wrong.
const MOST_FAILURES: u32 = 3;
/// How often the host is looked at.
const PERIOD: Duration = Duration::from_secs(15);
/// How long sshd may take to say its name.
const BANNER: Duration = Duration::from_secs(30);
/// A host that says nothing so often in a row is frozen, though its processors are busy.
const MOST_SILENCES: u32 = 6;
/// An idle host uses some 2 ticks of processor time in a second; a frozen one none in half a minute.
const FEWEST_TICKS: u64 = 5;
/// What holds in a host that is up.
const COMPLETE: &str =
    "test -c /dev/kvm && mountpoint -q /opt/bundle && systemctl -q is-active programs";

/// Starts a keeper, which outlives this process.
pub(super) fn start(place: &Place, disks: &Disks) -> Result<()> {
    fs::create_dir_all(place.run())?;
    let forker = Cmd::new("setsid")
        .args(["--fork", "unshare", "--net", "--"])
        .arg(enclosure::own_program()?)
        .args(["testbed", "keep", "--run", place.run_name(), "--host"])
        .arg(&disks.host)
        .arg("--bundle")
        .arg(&disks.bundle)
        .silent()
        .spawn_to(&place.keeper_log())?;
    if !forker.wait_for(HANDOVER)? {
        bail!("the host's keeper does not start");
    }
    let deadline = Instant::now() + HANDOVER;
    while place.read_record()?.is_none() {
        if Instant::now() > deadline {
            bail!("the host's keeper has not started; it said:\n{}", place.keeper_said());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}

/// Keeps a host running until it is asked to end.
pub(super) fn keep(place: &Place, disks: &Disks) -> Result<()> {
    let _alive = place.lock_alive()?;
    let mut record = Record {
        keeper: Process::of(rustix::process::getpid())?,
        qemu: None,
        disks: disks.clone(),
        acceleration: Acceleration::detect(),
        phase: Phase::Booting,
        boot: 0,
        since: now(),
        took: 0,
        restarts: Vec::new(),
    };
    place.write_record(&record)?;
    Cmd::new("ip").args(["link", "set", "lo", "up"]).run()?;
    let mut failures = 0;
    while failures < MOST_FAILURES {
        let host = begin(place, &mut record)?;
        let end = match come_up(place, &record, &host)? {
            None => {
                failures = 0;
                record.took = host.begun.elapsed().as_millis().try_into()?;
                record.enter(Phase::Up);
                place.write_record(&record)?;
                watch(place, &host)?
            }
            Some(end) => {
                failures += 1;
                end
            }
        };
        // A frozen QEMU may not listen to SIGTERM, and has nothing to lose: this kills it.
        drop(host);
        let End::Trouble(why) = end else { return Ok(()) };
        eprintln!("boot {} ended: {why}", record.boot);
        record.restarts.push(Restart { boot: record.boot, why });
    }
    record.qemu = None;
    record.enter(Phase::Failed);
    place.write_record(&record)?;
    while urgency() == Urgency::None {
        std::thread::park_timeout(PERIOD);
    }
    Ok(())
}

/// A host in QEMU.
struct Host {
    running: Running,
    process: Process,
    boot: u32,
    begun: Instant,
}

/// Why a host ends.
enum End {
    /// This task was asked to end.
    Asked,
    /// Something that one more boot may mend.
    Trouble(String),
}

fn begin(place: &Place, record: &mut Record) -> Result<Host> {
    record.boot += 1;
    record.enter(Phase::Booting);
    let cmd = machine::qemu(place, &record.disks, record.acceleration, record.boot)?;
    let running = cmd.clean_up().spawn_to(&place.qemu_log())?;
    let process = Process::of(running.pid())?;
    record.qemu = Some(process);
    place.write_record(record)?;
    Ok(Host { running, process, boot: record.boot, begun: Instant::now() })
}

/// Waits until the host is complete; says why if it does not come to that.
fn come_up(place: &Place, record: &Record, host: &Host) -> Result<Option<End>> {
    let (mut ticks, mut moved) = (0, Instant::now());
    loop {
        let now = host.process.ticks();
        if now >= ticks + FEWEST_TICKS {
            (ticks, moved) = (now, Instant::now());
        } else if moved.elapsed() > BANNER {
            return Ok(Some(End::Trouble(slept())));
        }
        if let Some(end) = ended(place, host, Duration::from_millis(200))? {
            return Ok(Some(end));
        }
        if host.begun.elapsed() > BOOT {
            return Ok(Some(End::Trouble(format!("it was not up after {} s", BOOT.as_secs()))));
        }
        // sshd is asked only when somebody listens: a refusal is quick, a login is not.
        if banner(Duration::from_secs(5)) == Banner::Said {
            let complete = entry::ssh(&record.disks.host, COMPLETE).timeout(BANNER);
            if complete.clean_up().probe()?.is_some() {
                return Ok(None);
            }
        }
    }
}

/// Waits until the host ends or has to.
fn watch(place: &Place, host: &Host) -> Result<End> {
    let mut silences = 0;
    loop {
        if let Some(end) = ended(place, host, PERIOD)? {
            return Ok(end);
        }
        if !place.run().exists() {
            // Without it nobody could find the way to end this host.
            return Ok(End::Asked);
        }
        let before = host.process.ticks();
        match banner(BANNER) {
            Banner::Said => silences = 0,
            Banner::Interrupted => {}
            Banner::Silence => {
                silences += 1;
                let ticks = host.process.ticks().saturating_sub(before);
                if ticks < FEWEST_TICKS {
                    return Ok(End::Trouble(slept()));
                }
                if silences >= MOST_SILENCES {
                    return Ok(End::Trouble("it was frozen: its sshd was silent".to_owned()));
                }
            }
        }
    }
}

fn slept() -> String {
    format!("it was frozen: QEMU slept for {} s", BANNER.as_secs())
}

/// Waits for so long for the host's end.
fn ended(place: &Place, host: &Host, time: Duration) -> Result<Option<End>> {
    let ended = host.running.wait_for(time)?;
    if urgency() != Urgency::None {
        return Ok(Some(End::Asked));
    }
    let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    Ok(ended.then(|| {
        let (console, qemu) = (read(place.console(host.boot)), read(place.qemu_log()));
        End::Trouble(last_words(&console, &qemu))
    }))
}

/// Why QEMU has ended, by what the host and QEMU have said.
fn last_words(console: &str, qemu: &str) -> String {
    let panic = console.lines().find_map(|line| line.split_once("Kernel panic - not syncing: "));
    match (panic, qemu.lines().last()) {
        (Some((_, panic)), _) => format!("its kernel panicked: {}", panic.trim_end()),
        (None, Some(said)) => format!("QEMU has ended: {said}"),
        (None, None) => "QEMU has ended and said nothing".to_owned(),
    }
}

/// What came of a call of the host's sshd.
#[derive(Debug, PartialEq, Eq)]
enum Banner {
    Said,
    Silence,
    /// A signal came first.
    Interrupted,
}

fn banner(patience: Duration) -> Banner {
    let ask = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, SSH_PORT));
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut bytes = [0; 4];
        let count = stream.read(&mut bytes)?;
        Ok::<_, io::Error>(bytes[..count].starts_with(b"SSH"))
    };
    match ask() {
        Ok(true) => Banner::Said,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Banner::Interrupted,
        _ => Banner::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_panic_explains_more_than_qemu_s_end() {
        let console =
            "[ 1.0] fine\n[ 2.0] Kernel panic - not syncing: stack end\r\n[ 2.1] Offset\n";
        assert_eq!(last_words(console, ""), "its kernel panicked: stack end");
        assert_eq!(last_words("", "qemu: no disk\n"), "QEMU has ended: qemu: no disk");
        assert_eq!(last_words("[ 1.0] fine\n", ""), "QEMU has ended and said nothing");
    }
}
