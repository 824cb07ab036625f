//! `banger dns`, and what `banger doctor dns` finds.

use super::Session;
use super::daemon::{dns, guest_dns};
use super::doctor::listener;
use crate::failure::Failure;
use crate::render::table::pairs;
use banger_api::client::Client;
use banger_api::{Check, DnsStatus, GuestDnsStatus, HostDnsState, Scope, Vm};
use banger_core::dns::ZONE;
use banger_core::state::VmState;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// A resolver that asks two servers twice takes longer, and is then as good as none.
const LOOKUP: Duration = Duration::from_secs(10);

pub(super) async fn status(session: &Session<'_>) -> Result<(), Failure> {
    let status = session.client().await?.dns().await?;
    session.output.answer(&status, text)
}

pub(super) async fn install(session: &Session<'_>) -> Result<(), Failure> {
    let status = session.client().await?.install_dns().await?;
    session.output.answer(&status, |status| format!("{}\n", host(status)))
}

pub(super) async fn uninstall(session: &Session<'_>) -> Result<(), Failure> {
    let status = session.client().await?.uninstall_dns().await?;
    session.output.answer(&status, |status| format!("{}\n", host(status)))
}

fn text(status: &DnsStatus) -> String {
    let mut lines = vec![
        ("server", dns(status)),
        ("guests", guest_dns(&status.guests)),
        ("host", host(status)),
    ];
    lines.extend(hint(status).map(|hint| ("to do", hint)));
    pairs(&lines)
}

/// Who on the host knows VMs' names, in one line.
pub(super) fn host(status: &DnsStatus) -> String {
    let host = &status.host;
    let problem = host.problem.as_deref();
    match host.state {
        HostDnsState::Off => format!("off: {}", problem.unwrap_or("the daemon does not tell it")),
        HostDnsState::Waiting => match problem {
            Some(problem) => format!("systemd-resolved is not told: {problem}"),
            None => "systemd-resolved is told with the first VM that runs".to_owned(),
        },
        HostDnsState::Configured => {
            let link = host.link.as_deref().unwrap_or("the bridge");
            format!("systemd-resolved asks for names under `{ZONE}`, on {link}")
        }
        HostDnsState::Absent => {
            let problem = problem.unwrap_or("there is no systemd-resolved");
            format!("VMs' names are not known: {problem}")
        }
        HostDnsState::Failed => {
            let problem = problem.unwrap_or("it gives no reason");
            format!("systemd-resolved does not take it, trying again: {problem}")
        }
    }
}

/// What the user can do, where only they can.
fn hint(status: &DnsStatus) -> Option<String> {
    match (status.host.recipe, status.address) {
        (Some(recipe), Some(address)) => Some(recipe.hint(address)),
        _ => None,
    }
}

/// The checks of the scope.
pub(super) async fn checks(client: &Client, status: &DnsStatus) -> Vec<Check> {
    let mut checks = vec![server(status), guests(&status.guests), resolver(status)];
    // An error of this route is told by others.
    let vms = client.vms().await.map(|list| list.vms).unwrap_or_default();
    if let Some(vm) = vms.iter().find(|vm| vm.state == VmState::Running) {
        checks.extend(name(vm, status).await);
    }
    checks
}

/// Whether names are answered for, where they should be.
fn server(status: &DnsStatus) -> Check {
    listener(Scope::Dns, "dns", status.state, dns(status), "set another `dns_listen`")
}

/// The same for guests.
fn guests(guests: &GuestDnsStatus) -> Check {
    let instead = "set `guest_dns` to `off`";
    listener(Scope::Dns, "guest dns", guests.state, guest_dns(guests), instead)
}

/// Whether the host's resolver knows of the server. VMs work without.
fn resolver(status: &DnsStatus) -> Check {
    let found = host(status);
    match status.host.state {
        HostDnsState::Absent | HostDnsState::Failed => {
            let hint = hint(status).unwrap_or_else(|| "`banger daemon logs` has more".to_owned());
            Check::warn(Scope::Dns, "host dns", found, hint)
        }
        _ => Check::pass(Scope::Dns, "host dns", found),
    }
}

/// Whether a program of the host finds a VM that runs, where it should.
async fn name(vm: &Vm, status: &DnsStatus) -> Option<Check> {
    let name = format!("{}.{ZONE}", vm.name);
    let looked = timeout(LOOKUP, lookup_host((name.as_str(), 0))).await;
    let found: Vec<IpAddr> = match looked {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        _ => Vec::new(),
    };
    let ip = vm.ip.address();
    if found == [IpAddr::from(ip)] {
        return Some(Check::pass(
            Scope::Dns,
            "name",
            format!("`{name}` is {ip} for programs here"),
        ));
    }
    // Where nobody was told, nobody knows; that has been said.
    (status.host.state == HostDnsState::Configured).then(|| {
        let answer = match found.first() {
            Some(other) => format!("`{name}` is {other} for programs here, and not {ip}"),
            None => format!("`{name}` is not known to programs here, though it runs at {ip}"),
        };
        let hint = "have programs ask systemd-resolved: /etc/resolv.conf is to be a link to \
                    /run/systemd/resolve/stub-resolv.conf";
        Check::warn(Scope::Dns, "name", answer, hint)
    })
}
