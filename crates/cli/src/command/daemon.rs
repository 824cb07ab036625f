//! `banger daemon`.

use super::Session;
use crate::failure::Failure;
use crate::render::table::pairs;
use banger_api::client::Client;
use banger_api::{
    BundleStatus, DaemonStatus, DnsStatus, GuestDnsStatus, ListenState, MetricsStatus,
};
use serde::Serialize;
use std::path::Path;

/// Shows the daemon that runs; it starts none.
pub(super) async fn status(session: &Session<'_>) -> Result<(), Failure> {
    let status = session.door.client().daemon().await?;
    session.output.answer(&status, text)
}

fn text(status: &DaemonStatus) -> String {
    let version = &status.version;
    let path = |path: &Path| path.display().to_string();
    let mut lines = vec![
        ("daemon", format!("bangerd {} (commit {})", version.version, version.commit)),
        ("pid", status.pid.to_string()),
        ("instance", status.instance.to_string()),
        ("socket", path(&status.socket)),
        ("state", path(&status.state_dir)),
        ("runtime", path(&status.runtime_dir)),
        ("log", path(&status.log_file)),
        ("vmm", format!("{}: {}", status.vmm.chosen, status.vmm.because)),
        ("overlay", format!("{}: {}", status.overlay.chosen, status.overlay.because)),
        ("bridge", status.bridge.clone()),
        ("dns", dns(&status.dns)),
        ("guest dns", guest_dns(&status.dns.guests)),
        ("host dns", super::dns::host(&status.dns)),
        ("metrics", metrics(&status.metrics)),
        ("vms", format!("{}, of which {} run", status.vms, status.running)),
    ];
    if let Some(status) = &status.bundle {
        let parts = status.content.iter().flat_map(|content| &content.parts);
        let parts = parts.map(|part| {
            (part.role.as_str(), format!("{}, by {}", path(&part.path), part.named_by))
        });
        let told: Vec<_> = [("bundle", bundle(status))].into_iter().chain(parts).collect();
        lines.splice(9..9, told);
    }
    if status.simulated {
        lines.push(("simulated", "yes: nothing on this host is changed".to_owned()));
    }
    let settings: Vec<_> = status
        .settings
        .iter()
        .map(|setting| {
            let value = format!("{} ({})", setting.value, setting.origin());
            (setting.key.as_str(), value)
        })
        .collect();
    if settings.is_empty() { pairs(&lines) } else { pairs(&lines) + "\n" + &pairs(&settings) }
}

/// The DNS server in one line, as `doctor` shows it too.
pub(super) fn dns(dns: &DnsStatus) -> String {
    let address = dns.address.map(|address| address.to_string()).unwrap_or_default();
    match dns.state {
        ListenState::Off => "off".to_owned(),
        ListenState::Serving => {
            format!("{address}; records: {}, queries answered: {}", dns.records, dns.queries)
        }
        ListenState::Failed => {
            let problem = dns.problem.as_deref().unwrap_or("the address is not to be had");
            format!("not served, trying again: {problem}")
        }
    }
}

/// What guests have of it, in one line, as `doctor` shows it too.
pub(super) fn guest_dns(guests: &GuestDnsStatus) -> String {
    match (guests.state, guests.address) {
        (ListenState::Off, _) => "off".to_owned(),
        (ListenState::Serving, Some(address)) => {
            let servers: Vec<String> =
                guests.upstreams.iter().map(|server| server.ip().to_string()).collect();
            let servers =
                if servers.is_empty() { "nobody is known".to_owned() } else { servers.join(", ") };
            format!("{address}; asked for other names: {servers}")
        }
        _ => {
            let problem = guests.problem.as_deref().unwrap_or("the address is not to be had");
            format!("not served, trying again: {problem}")
        }
    }
}

/// Where metrics are served, in one line, as `doctor` shows it too.
pub(super) fn metrics(metrics: &MetricsStatus) -> String {
    match (metrics.state, metrics.address) {
        (ListenState::Off, _) => "on the socket alone".to_owned(),
        (ListenState::Serving, Some(address)) => format!("http://{address}/metrics"),
        _ => {
            let problem = metrics.problem.as_deref().unwrap_or("the address is not to be had");
            format!("on the socket alone, trying again: {problem}")
        }
    }
}

/// The bundle with what it is good for, in one line.
fn bundle(status: &BundleStatus) -> String {
    let dir = status.dir.display();
    match (&status.problem, &status.image) {
        (Some(problem), _) => format!("{dir}: {}", problem.message),
        (None, Some(image)) => format!("{dir}: image `{}`", image.name),
        (None, None) => dir.to_string(),
    }
}

/// What a change of the daemon came to.
#[derive(Serialize)]
struct Change {
    changed: bool,
    daemon: Option<DaemonStatus>,
}

async fn tell(
    session: &Session<'_>,
    client: Option<&Client>,
    changed: bool,
) -> Result<(), Failure> {
    let daemon = match client {
        Some(client) => Some(client.daemon().await?),
        None => None,
    };
    session.output.answer(&Change { changed, daemon }, |change| match change {
        Change { changed: true, daemon: Some(daemon) } => {
            format!("the daemon runs, pid {}\n", daemon.pid)
        }
        Change { changed: false, daemon: Some(daemon) } => {
            format!("the daemon is already running, pid {}\n", daemon.pid)
        }
        Change { changed: true, daemon: None } => "the daemon has stopped; VMs go on\n".to_owned(),
        Change { changed: false, daemon: None } => "the daemon is not running\n".to_owned(),
    })
}

pub(super) async fn start(session: &Session<'_>) -> Result<(), Failure> {
    let client = session.door.client();
    let changed = match client.version().await {
        Ok(_) => false,
        Err(error) if error.is_unreachable() => {
            session.door.start(None).await?;
            true
        }
        Err(error) => return Err(error.into()),
    };
    tell(session, Some(&client), changed).await
}

/// Stops the daemon if one runs.
async fn end(session: &Session<'_>) -> Result<bool, Failure> {
    match session.door.client().version().await {
        Err(error) if error.is_unreachable() => Ok(false),
        // One that is not understood can still be told to stop.
        _ => {
            session.door.stop().await?;
            Ok(true)
        }
    }
}

pub(super) async fn stop(session: &Session<'_>) -> Result<(), Failure> {
    let changed = end(session).await?;
    tell(session, None, changed).await
}

pub(super) async fn restart(session: &Session<'_>) -> Result<(), Failure> {
    end(session).await?;
    session.door.start(None).await?;
    tell(session, Some(&session.door.client()), true).await
}
