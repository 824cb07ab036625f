//! As much HTTP as it takes to talk to Firecracker over its socket.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lets the machine run.
const START: &str = r#"{"action_type":"InstanceStart"}"#;
/// Asks the guest to end.
const END: &str = r#"{"action_type":"SendCtrlAltDel"}"#;

/// A connection to one Firecracker.
#[derive(Debug)]
pub(super) struct Api(BufReader<UnixStream>);

/// Something that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    path: String,
    body: String,
}

impl Put {
    fn new(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self { path: path.into(), body: body.into() }
    }

    /// Asks the guest to end.
    pub(super) fn end() -> Self {
        Self::new("/actions", END)
    }
}

impl Api {
    /// Connects; `None` if nobody listens there yet.
    pub(super) fn connect(socket: &Path) -> Result<Option<Self>> {
        let Ok(stream) = UnixStream::connect(socket) else {
            return Ok(None);
        };
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
        Ok(Some(Self(BufReader::new(stream))))
    }

    /// Sets something.
    pub(super) fn put(&mut self, put: &Put) -> Result<()> {
        self.ask("PUT", &put.path, &put.body).map(drop)
    }

    /// What the machine is.
    pub(super) fn config(&mut self) -> Result<Value> {
        let text = self.ask("GET", "/vm/config", "")?;
        serde_json::from_str(&text).context("cannot understand the machine's configuration")
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<String> {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).context("Firecracker does not listen")?;
        let (status, answer) = read_answer(&mut self.0)
            .with_context(|| format!("Firecracker does not answer `{method} {path}`"))?;
        if !status.starts_with('2') {
            bail!("Firecracker refused `{method} {path}`: {answer}");
        }
        Ok(answer)
    }
}

/// The status and the body of an answer.
fn read_answer(reader: &mut impl BufRead) -> Result<(String, String)> {
    let mut line = || {
        let mut line = String::new();
        if reader.read_line(&mut line).context("cannot read")? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let status = first.split(' ').nth(1).with_context(|| format!("`{first}` is no HTTP"))?;
    let mut length = 0;
    loop {
        let header = line()?;
        match header.split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().context("the length is no number")?;
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("the answer breaks off")?;
    Ok((status.to_owned(), String::from_utf8_lossy(&body).into_owned()))
}

/// What makes a machine of this configuration and lets it run, in banger's order.
pub(super) fn puts(config: &Value) -> Result<Vec<Put>> {
    let part = |name: &str| Some(&config[name]).filter(|value| !value.is_null());
    let needed = |name: &str| part(name).with_context(|| format!("the machine has no `{name}`"));
    let whole = |name: &str| Ok::<_, anyhow::Error>(body(&format!("/{name}"), needed(name)?));
    let mut puts = vec![whole("machine-config")?, whole("boot-source")?];
    for (name, id) in [("drives", "drive_id"), ("network-interfaces", "iface_id")] {
        for value in needed(name)?.as_array().context("the machine's parts are no list")? {
            let id = value[id].as_str().with_context(|| format!("one of `{name}` has no id"))?;
            puts.push(body(&format!("/{name}/{id}"), value));
        }
    }
    puts.extend(part("entropy").map(|entropy| body("/entropy", entropy)));
    puts.push(Put::new("/actions", START));
    Ok(puts)
}

/// What was not set is reported as null.
fn body(path: &str, value: &Value) -> Put {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    Put::new(path, value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let text =
            "HTTP/1.1 204 \r\nServer: x\r\n\r\nHTTP/1.1 400 \r\nContent-Length: 2\r\n\r\nnoHTTP";
        let mut reader = text.as_bytes();
        assert_eq!(read_answer(&mut reader).unwrap(), ("204".to_owned(), String::new()));
        assert_eq!(read_answer(&mut reader).unwrap(), ("400".to_owned(), "no".to_owned()));
        assert!(read_answer(&mut reader).is_err());
    }

    #[test]
    fn a_machine_is_made_again_from_what_it_says_of_itself() {
        let config = json!({
            "balloon": null,
            "machine-config": {"vcpu_count": 2, "huge_pages": "None", "cpu_template": null},
            "boot-source": {"kernel_image_path": "/k"},
            "drives": [{"drive_id": "root", "socket": null}, {"drive_id": "work"}],
            "network-interfaces": [{"iface_id": "eth0"}],
            "entropy": {"rate_limiter": null},
        });
        let puts: Vec<_> = puts(&config)
            .unwrap()
            .into_iter()
            .map(|put| format!("{} {}", put.path, put.body))
            .collect();
        assert_eq!(
            puts,
            [
                r#"/machine-config {"huge_pages":"None","vcpu_count":2}"#,
                r#"/boot-source {"kernel_image_path":"/k"}"#,
                r#"/drives/root {"drive_id":"root"}"#,
                r#"/drives/work {"drive_id":"work"}"#,
                r#"/network-interfaces/eth0 {"iface_id":"eth0"}"#,
                "/entropy {}",
                r#"/actions {"action_type":"InstanceStart"}"#,
            ]
        );
        assert!(super::puts(&json!({"drives": []})).is_err());
    }
}
