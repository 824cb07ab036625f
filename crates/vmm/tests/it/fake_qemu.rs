//! The control socket of a QEMU that says what a test's script tells it to say.

use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How QEMU greets.
pub(crate) const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}"#;

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends a line. `$id` becomes the id of the last command that was read.
    Say(&'static str),
    /// Reads a line, which must contain this text.
    Hear(&'static str),
    /// Lets this much time pass.
    Pause(std::time::Duration),
    /// Stays connected and says nothing, for ever.
    Silence,
}

/// A listening fake that follows one script for each client, one client at a time. It hangs up at
/// the end of a script and stops listening after the last one.
#[derive(Debug)]
pub(crate) struct FakeQemu {
    scripts: JoinSet<()>,
    dir: tempfile::TempDir,
}

impl FakeQemu {
    /// Starts listening.
    pub(crate) fn start(scripts: Vec<Vec<Step>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                follow(stream, script).await;
            }
        });
        Self { scripts: tasks, dir }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// Waits until every script was followed to its end, and panics if one could not be.
    pub(crate) async fn finished(mut self) {
        while let Some(outcome) = self.scripts.join_next().await {
            outcome.unwrap();
        }
    }
}

async fn follow(stream: UnixStream, script: Vec<Step>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut id = serde_json::Value::Null;
    for step in script {
        match step {
            Step::Say(text) => {
                let line = text.replace("$id", &id.to_string()) + "\r\n";
                writer.write_all(line.as_bytes()).await.unwrap();
            }
            Step::Hear(text) => {
                let line = lines.next_line().await.unwrap().expect("the client hung up");
                assert!(line.contains(text), "expected {text}, heard {line}");
                let command: serde_json::Value = serde_json::from_str(&line).unwrap();
                id = command["id"].clone();
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Silence => std::future::pending().await,
        }
    }
}

/// Greets and accepts the client's choice of capabilities.
pub(crate) fn negotiation() -> Vec<Step> {
    vec![
        Step::Say(GREETING),
        Step::Hear(r#""execute":"qmp_capabilities""#),
        Step::Say(r#"{"return": {}, "id": $id}"#),
    ]
}

/// [`negotiation`], then these steps.
pub(crate) fn after_negotiation(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    negotiation().into_iter().chain(steps).collect()
}
