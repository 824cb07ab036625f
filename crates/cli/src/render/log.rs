//! The daemon's log as people read it: which lines, and how each looks.

use super::error::printable;
use anstyle::{AnsiColor, Style};
use banger_api::LogLevel;
use serde_json::{Map, Value};

const TIME: Style = Style::new().dimmed();
const KEY: Style = Style::new().dimmed();
const NAME: Style = Style::new().bold();

/// Which lines are shown: those that fit all that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Those of this operation, by its id.
    pub(crate) op: Option<String>,
    /// Those of this VM, by its name, its id or a beginning of either.
    pub(crate) vm: Option<String>,
    /// Those of this level and graver ones.
    pub(crate) level: Option<LogLevel>,
}

impl Wanted {
    /// Whether every line is wanted.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a line is wanted. One that is not the log's is, unless something is asked for.
    pub(crate) fn fits(&self, line: &str) -> bool {
        let Some(fields) = parse(line) else { return self.is_all() };
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let op = self.op.as_ref().is_none_or(|op| text("op_id") == Some(op));
        let vm = self.vm.as_ref().is_none_or(|vm| {
            ["vm_name", "vm_id"].iter().any(|key| text(key).is_some_and(|of| of.starts_with(vm)))
        });
        let level = self.level.is_none_or(|most| level(&fields).is_some_and(|is| is <= most));
        op && vm && level
    }
}

fn parse(line: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(line).ok()
}

fn level(fields: &Map<String, Value>) -> Option<LogLevel> {
    fields.get("level")?.as_str()?.parse().ok()
}

/// What is shown at a place of its own, and what only programs need.
const PLACED: [&str; 8] = ["ts", "level", "msg", "target", "vm_name", "vm_id", "error", "causes"];

/// One line of the log, with the error and its causes below it. A line that is not the log's is
/// shown as it is.
pub(crate) fn text(line: &str) -> String {
    let Some(fields) = parse(line) else { return printable(line) + "\n" };
    let word = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let level = level(&fields);
    let style = style(level);
    let level = level.map_or("?", LogLevel::as_str).to_uppercase();
    let vm = match word("vm_name") {
        "" => String::new(),
        name => format!("{NAME}{}{NAME:#}: ", printable(name)),
    };
    let (at, message) = (time(word("ts")), printable(word("msg")));
    let mut text = format!("{TIME}{at}{TIME:#} {style}{level:<5}{style:#} {vm}{message}");
    for (key, value) in fields.iter().filter(|(key, _)| !PLACED.contains(&key.as_str())) {
        text += &format!("  {KEY}{key}={KEY:#}{}", shown(value));
    }
    text.push('\n');
    let causes = fields.get("causes").and_then(Value::as_array).map(Vec::as_slice);
    let errors = fields.get("error").into_iter().chain(causes.unwrap_or_default());
    for error in errors {
        let error = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        text += &format!("    {}\n", printable(&error).replace('\n', "\n    "));
    }
    text
}

fn style(level: Option<LogLevel>) -> Style {
    match level {
        Some(LogLevel::Error) => AnsiColor::Red.on_default().bold(),
        Some(LogLevel::Warn) => AnsiColor::Yellow.on_default().bold(),
        Some(LogLevel::Info) => AnsiColor::Green.on_default(),
        _ => Style::new().dimmed(),
    }
}

/// The time to the millisecond, without what RFC 3339 puts between and behind.
fn time(ts: &str) -> String {
    let ts = ts.trim_end_matches('Z').replacen('T', " ", 1);
    match ts.char_indices().nth("2026-01-02 03:04:05.678".len()) {
        Some((end, _)) => ts[..end].to_owned(),
        None => ts,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '\n']) => {
            format!("\"{}\"", printable(text).trim_end().replace('\n', " | "))
        }
        Value::String(text) => printable(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"ts":"2026-02-03T10:11:12.345678Z","level":"error","msg":"start failed","target":"banger_engine::engine","op_id":"0123456789","what":"start","vm_id":"0f5k2m9q","vm_name":"otter","image":"default","error":"could not prepare the host for `otter`","causes":["could not open `/dev/net/tun`","No such file or directory (os error 2)"],"stage":"prepare the host","elapsed_ms":12.5}"#;

    fn plain(line: &str) -> String {
        anstream::adapter::strip_str(&text(line)).to_string()
    }

    #[test]
    fn a_failure_has_its_causes_below_it() {
        insta::assert_snapshot!(plain(LINE), @r#"
        2026-02-03 10:11:12.345 ERROR otter: start failed  elapsed_ms=12.5  image=default  op_id=0123456789  stage="prepare the host"  what=start
            could not prepare the host for `otter`
            could not open `/dev/net/tun`
            No such file or directory (os error 2)
        "#);
    }

    #[test]
    fn what_is_not_a_line_of_the_log_is_shown_as_it_is() {
        assert_eq!(plain("thread panicked\u{1b}[2J"), "thread panicked\\u{1b}[2J\n");
        assert_eq!(plain(r#"{"ts":"soon"}"#), "soon ?     \n");
    }

    #[test]
    fn lines_are_chosen_by_operation_vm_and_level() {
        let wanted = |op: Option<&str>, vm: Option<&str>, level| Wanted {
            op: op.map(str::to_owned),
            vm: vm.map(str::to_owned),
            level,
        };
        assert!(wanted(None, None, None).fits(LINE) && wanted(None, None, None).fits("noise"));
        assert!(wanted(Some("0123456789"), Some("ott"), Some(LogLevel::Info)).fits(LINE));
        assert!(wanted(None, Some("0f5k2m9q"), Some(LogLevel::Error)).fits(LINE));
        assert!(!wanted(Some("01234"), None, None).fits(LINE), "an operation is named in full");
        assert!(!wanted(None, Some("heron"), None).fits(LINE));
        let debug = LINE.replace("\"error\",\"msg\"", "\"debug\",\"msg\"");
        assert!(!wanted(None, None, Some(LogLevel::Info)).fits(&debug));
        assert!(!wanted(None, Some("otter"), None).fits("noise"));
    }
}
