//! Going into the host: ssh through the keeper's network.

use super::machine::SSH_PORT;
use super::place::Place;
use super::record::{Phase, Record};
use super::session::{End, Ran};
use crate::cmd::Cmd;
use crate::enclosure;
use anyhow::{Context, Result, bail};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How much longer than the command in the host its ssh may take.
const WAY: Duration = Duration::from_secs(60);
/// ssh's own exit code for a lost connection.
const LOST: i32 = 255;
/// timeout(1)'s.
const TOO_LONG: i32 = 124;
/// How much later than ssh the keeper may see that the host is gone.
const NEWS: Duration = Duration::from_secs(3);
/// The name of the host in its known_hosts file.
pub(super) const ALIAS: &str = "testbed";

/// `ssh` with a line for the host's login shell, for a process that is in the keeper's network.
pub(super) fn ssh(host: &Path, line: &str) -> Cmd {
    Cmd::new("ssh").args(options(host)).args(["root@127.0.0.1", line])
}

fn options(host: &Path) -> Vec<String> {
    let settings = [
        format!("IdentityFile={}", quoted_path(&host.join("key"))),
        format!("UserKnownHostsFile={}", quoted_path(&host.join("known_hosts"))),
        format!("HostKeyAlias={ALIAS}"),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "BatchMode=yes".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "ConnectTimeout=30".to_owned(),
        // A host that was started again does not know of old connections.
        "ServerAliveInterval=15".to_owned(),
        "ServerAliveCountMax=8".to_owned(),
    ];
    let mut options =
        vec!["-F".to_owned(), "none".to_owned(), "-p".to_owned(), SSH_PORT.to_string()];
    options.extend(settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]));
    options
}

/// ssh splits a file option at blanks that are not in quotes.
fn quoted_path(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// A shell for people.
pub(super) fn shell(place: &Place) -> Result<ExitCode> {
    if let Some(code) = as_root()? {
        return Ok(code);
    }
    let record = up(place)?;
    let status = enter(&record, None, None).hand_over()?;
    Ok(code(status.code()))
}

/// Runs a command, with the user's input, and returns its exit code.
pub(super) fn run(place: &Place, command: &[String], limit: Duration) -> Result<ExitCode> {
    if let Some(code) = as_root()? {
        return Ok(code);
    }
    let record = up(place)?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let line = with_limit(command, limit, terminal.then_some("--foreground"));
    let ssh = enter(&record, terminal.then_some("-t"), Some(&line));
    let status = ssh.timeout(limit + WAY).hand_over()?;
    match status.code() {
        Some(TOO_LONG) => eprintln!("error: the command had {} s", limit.as_secs()),
        Some(LOST) => {
            if let Some(what) = what_happened(place, &record)? {
                bail!("{what}");
            }
        }
        _ => {}
    }
    Ok(code(status.code()))
}

/// Runs a command whose input ends when the user wants to end. It needs root.
pub(super) fn observe(place: &Place, command: &[String], limit: Duration) -> Result<Ran> {
    let record = up(place)?;
    let line = with_limit(command, limit, None);
    let ended = enter(&record, None, Some(&line)).watches_input().timeout(limit + WAY).observe()?;
    let lost = match ended.status.code() {
        Some(TOO_LONG) => bail!("what ran in the host had {} s, and took longer", limit.as_secs()),
        Some(LOST) => what_happened(place, &record)?,
        _ => None,
    };
    let end = lost.map_or(End::Exited(ended.status), End::Lost);
    Ok(Ran { end, stdout: ended.stdout })
}

/// What a command writes; nothing if it fails. It needs root.
pub(super) fn look(place: &Place, command: &[String], limit: Duration) -> Result<Option<String>> {
    let line = with_limit(command, limit, None);
    enter(&up(place)?, None, Some(&line)).timeout(limit + WAY).clean_up().probe()
}

/// Has the host take over programs that were built since it came up. It needs root.
pub(super) fn refresh_programs(place: &Place) -> Result<()> {
    let line = "systemctl restart programs";
    enter(&up(place)?, None, Some(line)).timeout(WAY).run()
}

/// The line that runs the command, and ends it in time: the end of ssh would not.
fn with_limit(command: &[String], limit: Duration, flag: Option<&str>) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let flag = flag.unwrap_or("--kill-after=10");
    format!("timeout {flag} {} {}", limit.as_secs(), words.join(" "))
}

/// Why the connection was lost, if it was for the host.
fn what_happened(place: &Place, before: &Record) -> Result<Option<String>> {
    let deadline = Instant::now() + NEWS;
    loop {
        match place.read_record()? {
            None => return Ok(Some("the host was brought down during the command".to_owned())),
            Some(now) if now.boot != before.boot => {
                let why = now.restarts.last().map_or("", |restart| &restart.why);
                return Ok(Some(format!("the host was started again during the command: {why}")));
            }
            Some(_) if Instant::now() > deadline => return Ok(None),
            Some(_) => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// `ssh` in the keeper's network.
fn enter(record: &Record, flag: Option<&str>, line: Option<&str>) -> Cmd {
    Cmd::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", record.keeper.pid))
        .args(["--", "ssh"])
        .args(flag)
        .args(options(&record.disks.host))
        .arg("root@127.0.0.1")
        .args(line)
        .silent()
}

/// The record of a host that is up, or comes up in time.
fn up(place: &Place) -> Result<Record> {
    let down = "the host is down; `cargo xtask testbed up` brings it up";
    let record = place.read_record()?.context(down)?;
    if record.phase == Phase::Up {
        return Ok(record);
    }
    eprintln!("the host is not up yet; waiting for it");
    super::await_up(place)?;
    place.read_record()?.context(down)
}

/// Starts the same task as root, if this one is not, and returns its exit code.
fn as_root() -> Result<Option<ExitCode>> {
    if rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(|dir| {
        let mut text = std::ffi::OsString::from("CARGO_TARGET_DIR=");
        text.push(dir);
        text
    });
    let status = Cmd::new("sudo")
        .args(["--", "env"])
        .args(target)
        .arg(enclosure::own_program()?)
        .args(std::env::args_os().skip(1))
        .silent()
        .hand_over()?;
    Ok(Some(code(status.code())))
}

fn code(code: Option<i32>) -> ExitCode {
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The word as the host's shell has to read it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word() {
        let command = ["echo", "it's $HOME"].map(str::to_owned);
        let line = with_limit(&command, Duration::from_secs(5), None);
        assert_eq!(line, r"timeout --kill-after=10 5 'echo' 'it'\''s $HOME'");
    }
}
