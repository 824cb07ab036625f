//! As much of QEMU's machine protocol as it takes to let a machine run.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Lets the machine run whose monitor listens on the socket; `None` if nobody listens there yet.
/// It runs once QEMU has said so.
pub(super) fn cont(socket: &Path) -> Result<Option<()>> {
    let Ok(stream) = UnixStream::connect(socket) else {
        return Ok(None);
    };
    stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
    let mut reader = BufReader::new(stream);
    // The greeting.
    read(&mut reader)?;
    for command in ["qmp_capabilities", "cont"] {
        let request = format!("{{\"execute\": \"{command}\"}}\n");
        reader.get_mut().write_all(request.as_bytes()).context("QEMU does not listen")?;
        loop {
            let answer = read(&mut reader)?;
            if answer.get("return").is_some() {
                break;
            }
            if answer.get("event").is_none() {
                bail!("QEMU refused `{command}`: {answer}");
            }
        }
    }
    Ok(Some(()))
}

fn read(reader: &mut BufReader<UnixStream>) -> Result<Value> {
    let mut line = String::new();
    if reader.read_line(&mut line).context("QEMU does not answer")? == 0 {
        bail!("QEMU closed its control socket");
    }
    serde_json::from_str(&line).with_context(|| format!("QEMU said `{}`", line.trim()))
}
