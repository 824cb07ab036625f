//! The daemon's log: one JSON object a line, in a file of bounded size.
//!
//! Each line has `ts` (RFC 3339 in UTC, microseconds), `level`, `msg`, `target`, the fields of the
//! spans around it, and its own fields: `op_id`, `vm_id`, `vm_name` and `image` say whom it
//! concerns, `stage` and `elapsed_ms` what took how long, `error` and `causes` what failed and why. When the file has grown to its limit it
//! becomes `bangerd.log.1`, that becomes `bangerd.log.2`, and so on; the oldest goes.

use crate::config::LogLevel;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The name of the log in the state directory.
pub const LOG_NAME: &str = "bangerd.log";
/// How large the log may get before it is put aside.
const LIMIT: u64 = 10 << 20;
/// How many older logs are kept.
const OLDER: u32 = 4;

/// Why there can be no log.
#[derive(Debug, thiserror::Error)]
#[error("could not open the log `{}`", .path.display())]
pub struct LogError {
    /// The log.
    pub path: PathBuf,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// What the filter is changed with while the daemon runs.
pub type FilterHandle = reload::Handle<Targets, Registry>;

/// Sends everything that the process logs to the file, and panics too.
///
/// # Panics
///
/// When called a second time: a mistake in the program.
pub fn init(path: &Path, level: LogLevel) -> Result<FilterHandle, LogError> {
    let log =
        Log::open(path, LIMIT).map_err(|source| LogError { path: path.to_owned(), source })?;
    let (filter, handle) = reload::Layer::new(filter(level));
    tracing_subscriber::registry().with(JsonLayer { log }.with_filter(filter)).init();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        default(panic);
    }));
    Ok(handle)
}

/// banger's own crates at the level that is set; others at most at `warn`.
pub(crate) fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("banger", own)
}

/// A file that puts itself aside when it has reached its limit.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    limit: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl Log {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let open = Open::at(path)?;
        Ok(Self { path: path.to_owned(), limit, open: Mutex::new(open) })
    }

    /// Appends a line. There is nobody to tell when that fails.
    fn write(&self, line: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.size >= self.limit {
            // One that cannot be moved goes on growing, which is better than no log.
            if self.put_aside().is_ok()
                && let Ok(new) = Open::at(&self.path)
            {
                *open = new;
            }
        }
        if open.file.write_all(line).is_ok() {
            open.size += u64::try_from(line.len()).expect("a line is short");
        }
    }

    fn put_aside(&self) -> io::Result<()> {
        let older = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..OLDER).rev() {
            match std::fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, older(1))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

/// The fields of a span or an event.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Value)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
        let mut causes = Vec::new();
        let mut cause = value.source();
        while let Some(error) = cause {
            causes.push(Value::from(error.to_string()));
            cause = error.source();
        }
        if !causes.is_empty() {
            self.0.push(("causes".to_owned(), causes.into()));
        }
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.push((name.to_owned(), value.into()));
    }
}

/// Renders events.
#[derive(Debug)]
struct JsonLayer {
    log: Log,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::default();
        let now = Timestamp::now();
        line.put("ts", format!("{now:.6}"));
        line.put("level", level_word(*event.metadata().level()));
        // The message comes before what is around it, for a reader of the raw file.
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some((_, message)) = fields.0.iter().find(|(name, _)| name == "msg") {
            line.put("msg", message.clone());
        }
        line.put("target", event.metadata().target());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.put_all(fields);
            }
        }
        line.put_all(&fields);
        self.log.write(line.render().as_bytes());
    }
}

/// A JSON object in one line, with its fields in the order in which they were put first. A value
/// that is put later wins.
#[derive(Debug, Default)]
struct Line(Vec<(String, Value)>);

impl Line {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((name.to_owned(), value.into())),
        }
    }

    fn put_all(&mut self, fields: &Fields) {
        for (name, value) in &fields.0 {
            self.put(name, value.clone());
        }
    }

    fn render(&self) -> String {
        let fields: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(&**name)))
            .collect();
        format!("{{{}}}\n", fields.join(","))
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(level: LogLevel, act: impl FnOnce()) -> Vec<Value> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG_NAME);
        let log = Log::open(&path, LIMIT).unwrap();
        let subscriber =
            tracing_subscriber::registry().with(JsonLayer { log }.with_filter(filter(level)));
        tracing::subscriber::with_default(subscriber, act);
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_fields_of_the_spans_around_it() {
        let error = LogError { path: "/x".into(), source: io::Error::other("it is on fire") };
        let lines = logged(LogLevel::Info, || {
            let outer = tracing::info_span!("operation", op_id = "0123456789");
            let _outer = outer.enter();
            let inner = tracing::info_span!("vm", vm = "otter", count = 3);
            let _inner = inner.enter();
            tracing::info!(error = &error as &dyn std::error::Error, ok = true, "it \"went\" on");
        });
        let mut line = lines[0].clone();
        let ts = line.as_object_mut().unwrap().remove("ts").unwrap();
        assert!(ts.as_str().unwrap().parse::<Timestamp>().is_ok(), "{ts}");
        assert_eq!(
            line,
            serde_json::json!({
                "level": "info",
                "target": "banger_daemon::logging::tests",
                "op_id": "0123456789",
                "vm": "otter",
                "count": 3,
                "error": "could not open the log `/x`",
                "causes": ["it is on fire"],
                "ok": true,
                "msg": "it \"went\" on",
            })
        );
    }

    #[test]
    fn the_level_holds_for_banger_and_others_only_warn() {
        let lines = logged(LogLevel::Debug, || {
            tracing::debug!("a");
            tracing::trace!("b");
            tracing::info!(target: "hyper::proto", "c");
            tracing::warn!(target: "hyper::proto", "d");
        });
        let messages: Vec<&str> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
        assert_eq!(messages, ["a", "d"]);
    }

    #[test]
    fn a_full_log_is_put_aside_and_a_new_one_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG_NAME);
        std::fs::write(&path, "older\n").unwrap();
        let log = Log::open(&path, 6).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        log.write(b"first\n");
        log.write(b"second\n");
        assert_eq!(read(LOG_NAME), "second\n");
        assert_eq!(read("bangerd.log.1"), "first\n");
        assert_eq!(read("bangerd.log.2"), "older\n");
        for number in 0..9 {
            log.write(format!("line {number}\n").as_bytes());
        }
        assert_eq!((read(LOG_NAME), read("bangerd.log.4")), ("line 8\n".into(), "line 4\n".into()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    }
}
