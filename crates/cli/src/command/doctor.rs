//! `banger doctor`: whether everything is there and nothing leaked.
//!
//! The daemon examines the host; what the client can see for itself, and what other routes say
//! already, is examined here.

use super::Session;
use crate::args::{DoctorArgs, Remedy};
use crate::failure::Failure;
use crate::launch;
use crate::render::doctor::text;
use banger_api::client::Client;
use banger_api::{
    AuditReport, Check, ErrorBody, FixReport, ListenState, MetricsStatus, Scope, Verdict,
};
use banger_core::error::ErrorCode;
use serde::Serialize;

/// What was found, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether nothing failed.
    ok: bool,
    /// What was changed on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    done: Vec<String>,
    checks: Vec<Check>,
}

pub(super) async fn run(session: &Session<'_>, args: &DoctorArgs) -> Result<(), Failure> {
    let done = match remedy(session, args).await? {
        Some(done) if args.remedy() == Remedy::Undo => {
            return session.output.answer(&done, |done| said(&done.done, NOTHING_UNDONE));
        }
        done => done.map(|done| done.done),
    };
    let client = match session.client().await {
        Ok(client) => Ok(client),
        Err(Failure::Error(body)) => Err(*body),
        Err(failure) => return Err(failure),
    };
    let is_fixed = done.is_some();
    let examined = examine(client, args.scope()).await;
    let report = Report { done: done.unwrap_or_default(), ..examined };
    session.output.answer(&report, |report| {
        let done = if is_fixed { said(&report.done, NOTHING_DONE) + "\n" } else { String::new() };
        done + &text(&report.checks)
    })?;
    if report.ok { Ok(()) } else { Err(Failure::Exit(1)) }
}

/// Looks at everything, or at one scope; without a daemon at what can be seen without one.
pub(super) async fn examine(client: Result<Client, ErrorBody>, asked: Option<Scope>) -> Report {
    let mut checks = match client {
        Ok(client) => through_daemon(&client, asked).await,
        Err(body) => vec![failed(Scope::Daemon, "daemon", body)],
    };
    if wants(asked, Scope::Ssh) {
        checks.push(ssh());
    }
    checks.sort_by_key(|check| Scope::ALL.iter().position(|scope| *scope == check.scope));
    let ok = checks.iter().all(|check| check.verdict != Verdict::Fail);
    Report { ok, done: Vec::new(), checks }
}

const NOTHING_DONE: &str = "there is nothing that banger can mend";
const NOTHING_UNDONE: &str = "there is nothing to undo";

/// What was done, a line for each thing.
fn said(done: &[String], nothing: &str) -> String {
    let lines =
        if done.is_empty() { vec![nothing] } else { done.iter().map(String::as_str).collect() };
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// Mends what is amiss, or undoes that; `None` where neither is asked for.
async fn remedy(session: &Session<'_>, args: &DoctorArgs) -> Result<Option<FixReport>, Failure> {
    let remedy = args.remedy();
    if remedy == Remedy::None {
        return Ok(None);
    }
    if args.scope() != Some(Scope::Network) {
        let message = "`--fix` and `--undo` are for `network` alone";
        let body = ErrorBody::plain(ErrorCode::InvalidRequest, message);
        let body = body.hint("`banger doctor network --fix`");
        return Err(Failure::Usage(Box::new(body)));
    }
    let client = session.client().await?;
    Ok(Some(match remedy {
        Remedy::Undo => client.undo_network().await?,
        Remedy::None | Remedy::Fix => client.fix_network().await?,
    }))
}

fn wants(asked: Option<Scope>, scope: Scope) -> bool {
    asked.is_none_or(|asked| asked == scope)
}

/// A check that ended in an error.
fn failed(scope: Scope, name: &str, error: ErrorBody) -> Check {
    let mut check = Check::fail(scope, name, error.code, error.message, String::new());
    check.found.extend(error.causes);
    check.hints = error.hints;
    check
}

fn ssh() -> Check {
    match launch::find_ssh() {
        Some(path) => Check::pass(Scope::Ssh, "ssh", path.display().to_string()),
        None => Check::fail(
            Scope::Ssh,
            "ssh",
            ErrorCode::MissingDependency,
            "there is no program `ssh`",
            "install OpenSSH's client: `openssh-client` on Debian and Ubuntu, `openssh-clients` \
             on Fedora, `openssh` on Arch",
        ),
    }
}

async fn through_daemon(client: &Client, asked: Option<Scope>) -> Vec<Check> {
    let mut checks = Vec::new();
    if wants(asked, Scope::Daemon) || wants(asked, Scope::Dns) {
        match client.daemon().await {
            Ok(status) => {
                let found = format!("bangerd {}, pid {}", status.version.version, status.pid);
                checks.push(Check::pass(Scope::Daemon, "daemon", found));
                checks.push(metrics(&status.metrics));
                if wants(asked, Scope::Dns) {
                    checks.extend(super::dns::checks(client, &status.dns).await);
                }
            }
            Err(error) => checks.push(failed(Scope::Daemon, "daemon", error.into_body())),
        }
        checks.retain(|check| check.verdict == Verdict::Fail || wants(asked, check.scope));
    }
    let elsewhere = [Scope::Daemon, Scope::Dns, Scope::Leaks];
    if asked.is_none_or(|asked| !elsewhere.contains(&asked)) {
        match client.doctor(asked).await {
            Ok(report) => checks.extend(report.checks),
            Err(error) => checks.push(failed(Scope::Daemon, "doctor", error.into_body())),
        }
    }
    if wants(asked, Scope::Leaks) {
        checks.push(match client.audit().await {
            Ok(report) => leaks(&report),
            Err(error) => failed(Scope::Leaks, "leaks", error.into_body()),
        });
    }
    checks
}

/// Whether metrics are served where they should be.
fn metrics(status: &MetricsStatus) -> Check {
    let found = super::daemon::metrics(status);
    listener(Scope::Daemon, "metrics", status.state, found, "set another `metrics_listen`")
}

/// Whether an address is served where it should be, and what can be done instead of ending who
/// holds it.
pub(super) fn listener(
    scope: Scope,
    name: &str,
    state: ListenState,
    found: String,
    instead: &str,
) -> Check {
    match state {
        ListenState::Off | ListenState::Serving => Check::pass(scope, name, found),
        ListenState::Failed => {
            let hint = format!("end the other program, or {instead} in the configuration file");
            Check::fail(scope, name, ErrorCode::NetworkConflict, found, hint)
        }
    }
}

/// Whether the host has what the ledger says, and nothing else of ours.
fn leaks(report: &AuditReport) -> Check {
    let audit = &report.audit;
    if audit.is_clean() {
        let count = report.inventory.len();
        let found = format!("none; {count} objects on the host, all accounted for");
        return Check::pass(Scope::Leaks, "leaks", found);
    }
    let leaked = audit.leaked.iter().map(|seen| format!("leaked: {} ({})", seen.object, seen.key));
    let missing = audit.missing.iter().map(|key| format!("missing: {key}"));
    let hint = "`banger daemon restart` settles the difference; VMs go on";
    let mut check = Check::fail(Scope::Leaks, "leaks", ErrorCode::Host, String::new(), hint);
    check.found = leaked.chain(missing).collect();
    check
}
