//! A stand-in for `bangerd`, for the tests of starting and replacing it: it listens at the socket
//! in `BANGER_RUNTIME_DIR`, has no VMs, and ends when it is told to.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

fn main() -> io::Result<()> {
    let dir = std::env::var_os("BANGER_RUNTIME_DIR").ok_or(io::ErrorKind::NotFound)?;
    let socket = Path::new(&dir).join("bangerd.sock");
    drop(std::fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket)?;
    for stream in listener.incoming() {
        if answer(stream?)? == Next::End {
            break;
        }
    }
    std::fs::remove_file(&socket)
}

#[derive(PartialEq)]
enum Next {
    Listen,
    End,
}

/// Answers one request. None of them has a body that matters.
fn answer(mut stream: UnixStream) -> io::Result<Next> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(request) = lines.next().transpose()? else { return Ok(Next::Listen) };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, document, next) = match request.split(' ').nth(1).unwrap_or_default() {
        "/v1/version" => ("200 OK", version(), Next::Listen),
        "/v1/daemon" => ("200 OK", daemon(), Next::Listen),
        "/v1/daemon/stop" => ("202 Accepted", json!(null), Next::End),
        "/v1/vms" => ("200 OK", json!({ "vms": [] }), Next::Listen),
        _ => ("404 Not Found", json!({ "code": "internal", "message": "unknown" }), Next::Listen),
    };
    let body = document.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    Ok(next)
}

fn version() -> Value {
    json!({ "version": "0.0.9", "api": 1, "commit": "abc", "build": "1" })
}

fn daemon() -> Value {
    json!({
        "version": version(), "pid": std::process::id(), "instance": "abcde",
        "socket": "/r", "state_dir": "/s", "runtime_dir": "/r", "log_file": "/s/bangerd.log",
        "vmm": { "chosen": "qemu", "because": "so" },
        "overlay": { "chosen": "copy", "because": "so" },
        "bridge": "banger0", "vms": 0, "running": 0, "settings": [], "simulated": false,
    })
}
