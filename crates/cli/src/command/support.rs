//! `banger support-bundle`: everything that helps others to help, in one file.
//!
//! It works as far as it can without a daemon, and starts none: one that does not start may be what
//! help is needed for.

use super::{Session, doctor};
use crate::args::SupportArgs;
use crate::connect::surroundings;
use crate::failure::Failure;
use crate::output::Format;
use crate::render;
use crate::support::{self, Bundle};
use banger_api::client::{Client, ClientError};
use banger_api::{DaemonStatus, ErrorBody, Version, build};
use banger_core::dirs::Dirs;
use banger_core::error::ErrorCode;
use jiff::Timestamp;
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// What was gathered, and where it is.
#[derive(Debug, Serialize)]
struct Answer {
    /// The file; absent when nothing was written.
    file: Option<PathBuf>,
    /// Its size in bytes.
    bytes: Option<usize>,
    #[serde(flatten)]
    bundle: Bundle,
}

/// The programs and the system.
#[derive(Debug, Serialize)]
struct Versions {
    time: String,
    client: Version,
    daemon: Option<Version>,
    kernel: String,
    distribution: Option<String>,
}

pub(super) async fn run(session: &Session<'_>, args: &SupportArgs) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut answer = Answer { file: None, bytes: None, bundle: gather(session, now).await };
    let name = format!("banger-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.zst")));
    let is_text = session.output.format() == Format::Text;
    if is_text {
        session.output.text(&render::support::list(&answer.bundle))?;
    }
    if !args.yes
        && let Err(refused) = may_write(session, &path)
    {
        if is_text {
            return Err(refused.into());
        }
        // The list is the answer, and nothing was done.
        session.output.answer(&answer, |_| String::new())?;
        return Err(Failure::Exit(1));
    }
    let mtime = u64::try_from(now.as_second()).unwrap_or(0);
    let bytes = support::write(&answer.bundle, &path, &name, mtime);
    answer.bytes = Some(bytes.map_err(|error| not_written(&path, &error))?);
    answer.file = Some(std::path::absolute(&path).unwrap_or(path));
    session
        .output
        .answer(&answer, |answer| render::support::written(answer.file.as_deref(), answer.bytes))
}

/// Asks whoever sits at the terminal.
fn may_write(session: &Session<'_>, path: &Path) -> Result<(), ErrorBody> {
    let not = |why: &str| {
        let message = format!("nothing was written: {why}");
        ErrorBody::plain(ErrorCode::InvalidRequest, message)
            .hint("`--yes` writes it without asking")
    };
    if session.output.format() == Format::Json || !io::stdin().is_terminal() {
        return Err(not("nobody can be asked"));
    }
    session.output.aside(&format!("Write it to `{}`? [y/N]", path.display()));
    let mut said = String::new();
    match io::stdin().read_line(&mut said) {
        Ok(_) if ["y", "yes"].contains(&said.trim().to_ascii_lowercase().as_str()) => Ok(()),
        _ => Err(not("that was no yes")),
    }
}

fn not_written(path: &Path, error: &io::Error) -> ErrorBody {
    let (code, hint) = match error.kind() {
        io::ErrorKind::AlreadyExists => (ErrorCode::NameTaken, "name another file with `-o`"),
        io::ErrorKind::StorageFull => (ErrorCode::NoSpace, "name a file elsewhere with `-o`"),
        io::ErrorKind::PermissionDenied => {
            (ErrorCode::NotPermitted, "name a file elsewhere with `-o`")
        }
        _ => (ErrorCode::Host, "name a file elsewhere with `-o`"),
    };
    let message = format!("the support bundle cannot be written to `{}`", path.display());
    ErrorBody { causes: vec![error.to_string()], ..ErrorBody::plain(code, message) }.hint(hint)
}

async fn gather(session: &Session<'_>, now: Timestamp) -> Bundle {
    let mut bundle = Bundle::default();
    let client = session.door.client();
    let daemon = client.version().await;
    let asked = match &daemon {
        Ok(_) => Ok(&client),
        Err(error) => Err(error.to_string()),
    };
    bundle.document("versions.json", &versions(now, daemon.as_ref().ok()));
    let found =
        doctor::examine(daemon.map(|_| client.clone()).map_err(ClientError::into_body), None);
    bundle.document("doctor.json", &found.await);
    let status = match asked {
        Ok(client) => through_daemon(&mut bundle, client).await,
        Err(reason) => {
            for name in DOCUMENTS {
                bundle.lack(name, reason.clone());
            }
            None
        }
    };
    let dirs = Dirs::resolve(&surroundings()).ok();
    match &dirs {
        Some(dirs) => configuration(&mut bundle, &dirs.config_file),
        None => bundle.lack("config.toml", "its place cannot be told"),
    }
    match status.map(|status| status.state_dir).or(dirs.map(|dirs| dirs.state_dir)) {
        Some(state_dir) => support::logs(&mut bundle, &state_dir),
        None => bundle.lack("logs", "the state directory cannot be told"),
    }
    bundle
}

/// What only a daemon can say.
const DOCUMENTS: [&str; 5] =
    ["daemon.json", "vms.json", "images.json", "bundle.json", "ledger.json"];

async fn through_daemon(bundle: &mut Bundle, client: &Client) -> Option<DaemonStatus> {
    let [daemon, vms, images, runtime, ledger] = DOCUMENTS;
    let status = client.daemon().await;
    add(bundle, daemon, &status);
    add(bundle, vms, &client.vms().await);
    add(bundle, images, &client.images().await);
    add(bundle, runtime, &client.bundle().await);
    add(bundle, ledger, &client.audit().await);
    status.ok()
}

fn add<T: Serialize>(bundle: &mut Bundle, name: &str, answer: &Result<T, ClientError>) {
    match answer {
        Ok(document) => bundle.document(name, document),
        Err(error) => bundle.lack(name, error.to_string()),
    }
}

fn configuration(bundle: &mut Bundle, path: &Path) {
    match std::fs::read_to_string(path) {
        Ok(text) => bundle.text("config.toml", &support::without_comments(&text), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bundle.lack("config.toml", format!("there is no `{}`", path.display()));
        }
        Err(error) => bundle.lack("config.toml", format!("it cannot be read: {error}")),
    }
}

fn versions(now: Timestamp, daemon: Option<&Version>) -> Versions {
    let uname = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Versions {
        time: now.to_string(),
        client: build::this_program(),
        daemon: daemon.cloned(),
        kernel: [uname.sysname(), uname.release(), uname.version(), uname.machine()]
            .map(word)
            .join(" "),
        distribution: name.map(|name| name.trim_matches('"').to_owned()),
    }
}
