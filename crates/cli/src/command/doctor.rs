//! `banger doctor`: whether everything is there and nothing leaked.

use super::Session;
use crate::failure::Failure;
use crate::launch;
use crate::render::table::table;
use banger_api::client::Client;
use banger_api::{AuditReport, DnsState, DnsStatus, ErrorBody};
use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found, one line for each thing.
    found: Vec<String>,
    hints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, ok: true, found: vec![found.into()], hints: Vec::new() }
    }

    fn bad(name: &'static str, error: ErrorBody) -> Self {
        let found = std::iter::once(error.message).chain(error.causes).collect();
        Self { name, ok: false, found, hints: error.hints }
    }
}

pub(super) async fn run(session: &Session<'_>) -> Result<(), Failure> {
    let mut checks = vec![ssh()];
    match session.client().await {
        Ok(client) => checks.extend(daemon(&client).await),
        Err(Failure::Error(body)) => checks.push(Check::bad("daemon", *body)),
        Err(failure) => return Err(failure),
    }
    let report = Report { ok: checks.iter().all(|check| check.ok), checks };
    session.output.answer(&report, text)?;
    if report.ok { Ok(()) } else { Err(Failure::Exit(1)) }
}

fn ssh() -> Check {
    match launch::find_ssh() {
        Some(path) => Check::good("ssh", path.display().to_string()),
        None => Check {
            name: "ssh",
            ok: false,
            found: vec!["there is no program `ssh`".to_owned()],
            hints: vec!["on Debian, install the package `openssh-client`".to_owned()],
        },
    }
}

async fn daemon(client: &Client) -> Vec<Check> {
    let mut checks = Vec::new();
    match client.daemon().await {
        Ok(status) => {
            let version = &status.version.version;
            checks.push(Check::good("daemon", format!("bangerd {version}, pid {}", status.pid)));
            for (name, choice) in [("vmm", &status.vmm), ("overlay", &status.overlay)] {
                checks.push(Check::good(name, format!("{}: {}", choice.chosen, choice.because)));
            }
            checks.push(dns(&status.dns));
        }
        Err(error) => checks.push(Check::bad("daemon", error.into_body())),
    }
    checks.push(match client.bundle().await {
        Ok(bundle) => match bundle.problem {
            None => Check::good("bundle", bundle.dir.display().to_string()),
            Some(problem) => Check::bad("bundle", problem),
        },
        Err(error) => Check::bad("bundle", error.into_body()),
    });
    checks.push(match client.audit().await {
        Ok(report) => leaks(&report),
        Err(error) => Check::bad("leaks", error.into_body()),
    });
    checks
}

/// Whether names are answered for, where they should be.
fn dns(status: &DnsStatus) -> Check {
    let hints = match status.state {
        DnsState::Off | DnsState::Serving => Vec::new(),
        DnsState::Failed => vec![
            "end the other program, or set another `dns_listen` in the configuration file"
                .to_owned(),
        ],
    };
    let found = vec![super::daemon::dns(status)];
    Check { name: "dns", ok: hints.is_empty(), found, hints }
}

/// Whether the host has what the ledger says, and nothing else of ours.
fn leaks(report: &AuditReport) -> Check {
    let audit = &report.audit;
    if audit.is_clean() {
        let count = report.inventory.len();
        return Check::good(
            "leaks",
            format!("none; {count} objects on the host, all accounted for"),
        );
    }
    let leaked = audit.leaked.iter().map(|seen| format!("leaked: {} ({})", seen.object, seen.key));
    let missing = audit.missing.iter().map(|key| format!("missing: {key}"));
    Check {
        name: "leaks",
        ok: false,
        found: leaked.chain(missing).collect(),
        hints: vec!["`banger daemon restart` settles the difference; VMs go on".to_owned()],
    }
}

fn text(report: &Report) -> String {
    let mut rows = Vec::new();
    for check in &report.checks {
        let verdict = if check.ok { "ok" } else { "FAIL" };
        let hints = check.hints.iter().map(|hint| format!("hint: {hint}"));
        for (number, line) in check.found.iter().cloned().chain(hints).enumerate() {
            let (name, verdict) = if number == 0 { (check.name, verdict) } else { ("", "") };
            rows.push([name.to_owned(), verdict.to_owned(), line]);
        }
    }
    table(["CHECK", "", "FOUND"], &rows)
}
