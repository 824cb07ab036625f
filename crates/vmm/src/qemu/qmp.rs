//! A client of QEMU's machine protocol: one JSON value per line, over a Unix socket.
//!
//! QEMU greets, the client asks for command mode, then each command has one answer; events come in
//! between at any time. QEMU serves one client at a time and lets the next one wait for its
//! greeting, so a conversation here is short, and its every step has a deadline.
//! (Specification: `docs/interop/qmp-spec` in QEMU's sources.)

use crate::patience::within;
use crate::socket;
use crate::{MachineStatus, Patience, VmmError};
use banger_core::unit::elapsed_ms;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// QEMU's longest answers (its own schema) are below this.
const LINE_MAX: u64 = 1 << 20;

/// What the conversation's first step is called in errors.
const GREETING: &str = "QMP greeting";

/// The commands that the driver uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "execute", content = "arguments")]
pub(super) enum Command {
    /// Leaves negotiation mode.
    #[serde(rename = "qmp_capabilities")]
    Capabilities,
    /// Lets the processors run.
    #[serde(rename = "cont")]
    Cont,
    /// Asks for the machine's state.
    #[serde(rename = "query-status")]
    QueryStatus,
    /// Presses keys together and releases them.
    #[serde(rename = "send-key")]
    SendKey {
        /// The keys.
        keys: [Key; 3],
    },
}

/// A key as QEMU names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
pub(super) enum Key {
    /// A word of QEMU's `QKeyCode`.
    Qcode(&'static str),
}

impl Command {
    /// The three keys at which Linux asks its init to restart.
    pub(super) fn ctrl_alt_delete() -> Self {
        Self::SendKey { keys: [Key::Qcode("ctrl"), Key::Qcode("alt"), Key::Qcode("delete")] }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Capabilities => "qmp_capabilities",
            Self::Cont => "cont",
            Self::QueryStatus => "query-status",
            Self::SendKey { .. } => "send-key",
        }
    }
}

#[derive(Serialize)]
struct Request {
    #[serde(flatten)]
    command: Command,
    id: u64,
}

/// A line from QEMU. Its kind is told by the one field that each kind has.
#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Event {
        event: String,
    },
    Return {
        r#return: Value,
        id: u64,
    },
    Error {
        error: ErrorBody,
        id: Option<u64>,
    },
    Greeting {
        #[serde(rename = "QMP")]
        _qmp: Value,
    },
}

#[derive(Deserialize)]
struct ErrorBody {
    class: String,
    desc: String,
}

/// A conversation in command mode.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    next_id: u64,
    patience: Patience,
}

impl Qmp {
    /// Connects, awaits the greeting and enters command mode. While another client is served this
    /// waits, as long as for any other answer.
    pub(super) async fn connect(socket: &Path, patience: Patience) -> Result<Self, VmmError> {
        let greeted = async {
            let stream = BufReader::new(socket::connect(socket).await?);
            let mut qmp = Self { stream, next_id: 1, patience };
            qmp.read_greeting().await?;
            Ok(qmp)
        };
        let mut qmp = within(patience.answer, GREETING, greeted).await?;
        qmp.execute(Command::Capabilities).await?;
        Ok(qmp)
    }

    /// Sends a command and awaits its answer.
    pub(super) async fn execute(&mut self, command: Command) -> Result<Value, VmmError> {
        let (limit, since) = (self.patience.answer, Instant::now());
        let outcome = within(limit, command.name(), self.exchange(command)).await;
        let elapsed_ms = elapsed_ms(since.elapsed());
        let status = if outcome.is_ok() { "ok" } else { "failed" };
        tracing::debug!(call = command.name(), status, elapsed_ms, "call of the VMM's API");
        outcome
    }

    /// Asks how the machine is.
    pub(super) async fn query_status(&mut self) -> Result<MachineStatus, VmmError> {
        let command = Command::QueryStatus;
        let answer = self.execute(command).await?;
        let status = answer.get("status").and_then(Value::as_str).and_then(parse_run_state);
        status
            .ok_or_else(|| VmmError::protocol(command.name(), answer.to_string().as_bytes(), None))
    }

    async fn read_greeting(&mut self) -> Result<(), VmmError> {
        let line = self.read_line(GREETING).await?;
        match parse(GREETING, &line)? {
            Message::Greeting { .. } => Ok(()),
            _ => Err(VmmError::protocol(GREETING, &line, None)),
        }
    }

    async fn exchange(&mut self, command: Command) -> Result<Value, VmmError> {
        let (name, id) = (command.name(), self.next_id);
        self.next_id += 1;
        self.send(name, &Request { command, id }).await?;
        loop {
            let line = self.read_line(name).await?;
            match parse(name, &line)? {
                Message::Event { event } => tracing::debug!(event, "QEMU reports an event"),
                Message::Return { r#return, id: answered } if answered == id => {
                    return Ok(r#return);
                }
                // An error that QEMU cannot relate to a command bears no id.
                Message::Error { error, id: answered } if answered.is_none_or(|to| to == id) => {
                    return Err(VmmError::Refused {
                        request: name.to_owned(),
                        status: error.class,
                        message: error.desc,
                    });
                }
                _ => return Err(VmmError::protocol(name, &line, None)),
            }
        }
    }

    async fn send(&mut self, name: &str, request: &Request) -> Result<(), VmmError> {
        let mut line = serde_json::to_vec(request).expect("a command has only string keys");
        line.push(b'\n');
        self.stream.write_all(&line).await.map_err(|error| closed(name, error))
    }

    async fn read_line(&mut self, request: &str) -> Result<Vec<u8>, VmmError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_MAX);
        limited.read_until(b'\n', &mut line).await.map_err(|error| closed(request, error))?;
        if line.ends_with(b"\n") {
            Ok(line)
        } else if line.len() as u64 == LINE_MAX {
            Err(VmmError::protocol(request, &line, None))
        } else {
            Err(VmmError::Closed { request: request.to_owned(), source: None })
        }
    }
}

fn closed(request: &str, error: std::io::Error) -> VmmError {
    VmmError::Closed { request: request.to_owned(), source: Some(error.into()) }
}

fn parse(request: &str, line: &[u8]) -> Result<Message, VmmError> {
    serde_json::from_slice(line)
        .map_err(|error| VmmError::protocol(request, line, Some(error.into())))
}

/// QEMU's `RunState` words. What is neither running nor waiting to be started stands still.
fn parse_run_state(word: &str) -> Option<MachineStatus> {
    match word {
        "running" => Some(MachineStatus::Running),
        "prelaunch" | "inmigrate" => Some(MachineStatus::Waiting),
        "paused" | "suspended" | "debug" | "colo" | "save-vm" | "restore-vm" | "finish-migrate"
        | "postmigrate" | "watchdog" | "io-error" | "internal-error" | "guest-panicked"
        | "shutdown" => Some(MachineStatus::Paused),
        _ => None,
    }
}
