//! `banger uninstall`: takes back what was set in other firewalls and in the user's ssh configuration,
//! and stops the daemon.
//!
//! What is in banger's own directories is the user's work, and stays: it is named, for its owner to
//! remove. So does the forwarding of packets, which others may need by now, and what its user wrote by
//! hand on banger's advice.

use super::Session;
use super::ssh_config;
use crate::failure::Failure;
use banger_api::client::Client;
use banger_api::{DaemonStatus, ErrorBody, Vm};
use banger_core::error::ErrorCode;
use banger_core::state::VmState;
use serde::Serialize;
use std::path::PathBuf;

/// What was taken back, and what is left.
#[derive(Debug, Serialize)]
struct Report {
    /// What was done, in words.
    done: Vec<String>,
    /// The directories that are left: disks, images and logs in the first one.
    stays: Vec<PathBuf>,
}

pub(super) async fn run(session: &Session<'_>) -> Result<(), Failure> {
    let client = session.client().await?;
    refuse_while_vms_run(&client).await?;
    let DaemonStatus { state_dir, runtime_dir, .. } = client.daemon().await?;
    // First what can fail, and can then be tried again.
    let mut done = client.undo_network().await?.done;
    done.extend(ssh_config::take_back()?);
    session.door.stop().await?;
    done.push("the daemon has stopped".to_owned());
    let report = Report { done, stays: vec![state_dir, runtime_dir] };
    session.output.answer(&report, text)
}

/// A VM that runs would go on without anybody who could end it in good order, and one in error has left
/// something on the host.
async fn refuse_while_vms_run(client: &Client) -> Result<(), Failure> {
    let is_over = |vm: &Vm| matches!(vm.state, VmState::Created | VmState::Stopped);
    let vms: Vec<Vm> = client.vms().await?.vms.into_iter().filter(|vm| !is_over(vm)).collect();
    if vms.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = vms.iter().map(|vm| format!("`{}` ({})", vm.name, vm.state)).collect();
    let message = format!("cannot uninstall while VMs are not stopped: {}", shown.join(", "));
    let names: Vec<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
    let names = names.join(" ");
    let body = ErrorBody::plain(ErrorCode::WrongState, message).hint(format!(
        "`banger vm stop {names}` keeps their disks, `banger vm delete {names}` removes them"
    ));
    Err(Failure::Error(Box::new(body)))
}

fn text(Report { done, stays }: &Report) -> String {
    let done: String = done.iter().map(|line| format!("{line}\n")).collect();
    let stays: String = stays.iter().map(|dir| format!("  {}\n", dir.display())).collect();
    format!(
        "{done}\nBanger's programs stay, its configuration file, and\n{stays}with the disks of VMs, \
         images and logs. Remove them when you no longer need them.\n\n`net.ipv4.ip_forward` stays \
         as it is, since others may need it by now, and so does what you have\nwritten yourself, as in \
         files of a resolver (docs/dns.md).\n"
    )
}
