//! What a test's daemon has logged: that it is what the documentation says, and that no key is in it.

use super::remains::names;
use jiff::Timestamp;
use serde_json::Value;
use ssh_key::PrivateKey;
use std::fs;
use std::path::{Path, PathBuf};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What lines with these messages have besides, each of an operation.
const OF_OPERATIONS: [(&str, &[&str]); 8] = [
    ("stage begins", &["stage"]),
    ("stage is done", &["stage", "elapsed_ms"]),
    ("ensure", &["key", "object", "change", "elapsed_ms"]),
    ("ensure failed", &["key", "object", "error", "elapsed_ms"]),
    ("remove", &["key", "object", "change", "elapsed_ms"]),
    ("remove failed", &["key", "object", "error", "elapsed_ms"]),
    ("ready", &["vm_id", "vm_name", "readiness"]),
    ("the VM has ended by itself", &["vm_id", "vm_name", "image", "exit"]),
];
/// The same for what is done without an operation too, as for `banger doctor`.
const OF_ANYBODY: [(&str, &[&str]); 3] = [
    ("program ended", &["argv", "exit", "elapsed_ms", "stderr"]),
    ("program failed", &["argv", "error", "elapsed_ms", "stderr"]),
    ("call of the VMM's API", &["call", "status", "elapsed_ms"]),
];

/// The daemon's logs, the oldest first.
fn daemon_logs(state: &Path) -> Vec<PathBuf> {
    let older = (1..=4).rev().map(|number| state.join(format!("bangerd.log.{number}")));
    older.chain([state.join("bangerd.log")]).filter(|path| path.exists()).collect()
}

/// Each line of the daemon's log is a JSON object with the fields of its kind, and none tells of a
/// defect.
#[track_caller]
pub(super) fn check_lines(state: &Path) {
    let mut count = 0;
    for path in daemon_logs(state) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let wrong = wrong(line);
            assert_eq!(wrong, None, "line {} of {}: {line}", number + 1, path.display());
            count += 1;
        }
    }
    assert!(count > 0, "the daemon has logged nothing");
}

/// What is wrong with a line, if anything is.
fn wrong(line: &str) -> Option<String> {
    let line: Value = match serde_json::from_str(line) {
        Ok(line @ Value::Object(_)) => line,
        Ok(other) => return Some(format!("it is no object but {other}")),
        Err(error) => return Some(error.to_string()),
    };
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    if text("ts").parse::<Timestamp>().is_err() {
        return Some("`ts` is no time".to_owned());
    }
    if !LEVELS.contains(&text("level")) {
        return Some("`level` is no level".to_owned());
    }
    if text("msg").is_empty() || text("target").is_empty() {
        return Some("it has no `msg` or no `target`".to_owned());
    }
    if text("msg").contains("panicked at") {
        return Some("the daemon has panicked".to_owned());
    }
    if !(line["elapsed_ms"].is_null() || line["elapsed_ms"].is_number()) {
        return Some("`elapsed_ms` is no number".to_owned());
    }
    if !(line["causes"].is_null() || line["causes"].is_array()) {
        return Some("`causes` is no list".to_owned());
    }
    let of = |(msg, _): &&(&str, &[&'static str])| *msg == text("msg");
    let in_operation = OF_OPERATIONS.iter().find(of);
    if in_operation.is_some() && text("op_id").len() != 10 {
        return Some("it has no `op_id`".to_owned());
    }
    let fields = in_operation.or_else(|| OF_ANYBODY.iter().find(of)).map(|(_, fields)| *fields);
    let lacks = fields.unwrap_or_default().iter().find(|field| line[**field].is_null());
    lacks.map(|field| format!("it has no `{field}`"))
}

/// The private keys of a test, in each form in which they might be written.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    keys: Vec<String>,
    forms: Vec<String>,
}

impl Secrets {
    /// Takes in the keys that there are now: the one with which VMs are entered, and the host keys
    /// of the VMs that run. These are in their initrds, behind all else.
    pub(super) fn look_for_more(&mut self, state: &Path) {
        self.take(&fs::read_to_string(state.join("ssh/id_ed25519")).unwrap_or_default());
        for vm in names(state.join("vms")) {
            let bytes = fs::read(state.join("vms").join(vm).join("initrd")).unwrap_or_default();
            let end = &bytes[bytes.len().saturating_sub(64 << 10)..];
            self.take(&String::from_utf8_lossy(end).replace("\\n", "\n"));
        }
    }

    /// How many keys are known.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Takes the keys out of a text.
    fn take(&mut self, text: &str) {
        for part in text.split("-----BEGIN OPENSSH PRIVATE KEY-----").skip(1) {
            let Some((body, _)) = part.split_once("-----END") else { continue };
            if self.keys.iter().any(|known| known == body) {
                continue;
            }
            self.keys.push(body.to_owned());
            // The first line is the same in all keys.
            let lines = body.lines().filter(|line| !line.is_empty()).skip(1);
            self.forms.extend(lines.filter(|line| line.len() >= 24).map(str::to_owned));
            let pem = format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----{body}-----END OPENSSH PRIVATE KEY-----\n"
            );
            let key = PrivateKey::from_openssh(pem).expect("a key of banger's own");
            let seed = key.key_data().ed25519().expect("it is of that kind").private.to_bytes();
            self.forms.push(seed.iter().map(|byte| format!("{byte:02x}")).collect());
            let numbers: Vec<String> = seed.iter().map(u8::to_string).collect();
            self.forms.push(numbers[..12].join(", "));
            self.forms.push(numbers[..12].join(","));
        }
    }

    /// No log of the daemon, of a VMM, of a guest or of a build has any of them.
    #[track_caller]
    pub(super) fn assert_in_no_log(&self, state: &Path) {
        let mut logs = daemon_logs(state);
        for kept in ["builds", "failed"].map(|name| state.join(name)) {
            logs.extend(names(&kept).into_iter().map(|name| kept.join(name)));
        }
        for vm in names(state.join("vms")) {
            let dir = state.join("vms").join(vm);
            let of_vm = names(&dir).into_iter().filter(|name| name.contains(".log"));
            logs.extend(of_vm.map(|name| dir.join(name)));
        }
        for path in logs {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            let number = self.line_with_one(&text);
            assert_eq!(number, None, "a private key is in that line of {}", path.display());
        }
    }

    /// The number of the first line that has one of them.
    fn line_with_one(&self, text: &str) -> Option<usize> {
        let has_one = |line: &str| self.forms.iter().any(|form| line.contains(form.as_str()));
        text.lines().position(has_one).map(|at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::LineEnding;
    use ssh_key::private::Ed25519Keypair;

    #[test]
    fn a_wrong_line_is_told_from_a_right_one() {
        let right = r#"{"ts":"2026-02-03T10:11:12.345678Z","level":"debug","msg":"ensure","target":"t",
            "op_id":"0123456789","key":"k","object":"o","change":"Changed","elapsed_ms":0.5}"#;
        assert_eq!(wrong(right), None);
        for (part, by) in [
            ("2026-02-03", "today"),
            ("debug", "loud"),
            ("\"target\":\"t\",", ""),
            ("\"op_id\":\"0123456789\",", ""),
            ("\"change\"", "\"changed\""),
            ("0.5", "\"long\""),
            ("}", ""),
        ] {
            assert_ne!(wrong(&right.replace(part, by)), None, "{part}");
        }
    }

    #[test]
    fn a_key_is_found_in_each_form() {
        let seed: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let key = key.to_openssh(LineEnding::LF).unwrap().to_string();
        let mut secrets = Secrets::default();
        secrets.take(&format!("something before\n{key}\nsomething behind"));
        assert_eq!(secrets.len(), 1);
        let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        let body: Vec<&str> = key.lines().collect();
        for text in [key.as_str(), &key.replace('\n', "\\n"), &format!("{seed:?}"), &hex, body[3]] {
            let log = format!("all is well\n{}\n", text.replace('\n', " "));
            assert_eq!(secrets.line_with_one(&log), Some(2), "{text}");
        }
        let harmless = format!("{}\n{}\n", body[1], "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI");
        assert_eq!(secrets.line_with_one(&harmless), None);
    }
}
