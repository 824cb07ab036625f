//! `banger vm ports`: the guest's kernel is asked over ssh, and needs no program for that but `cat`.

use super::Session;
use super::several::{ask, tell_all};
use super::ssh::{arguments, check_runs};
use crate::failure::Failure;
use crate::launch;
use crate::render;
use crate::render::ports::VmPorts;
use banger_api::client::Client;
use banger_api::{ErrorBody, SshTarget};
use banger_core::error::ErrorCode;
use banger_core::listen::{TABLES, read_tables};
use std::process::Output;

/// What ssh exits with when it failed itself (ssh(1)).
const SSH_FAILED: i32 = 255;

pub(super) async fn run(session: &Session<'_>, refs: &[String]) -> Result<(), Failure> {
    let client = session.client().await?;
    let reports = ask(refs, async |reference| ports(&client, &reference).await).await;
    tell_all(session.output, "ports", &reports, |all| render::ports::table(all))
}

async fn ports(client: &Client, reference: &str) -> Result<VmPorts, ErrorBody> {
    let target = client.ssh(reference).await?;
    check_runs(&target)?;
    let question: Vec<String> = ["cat"].into_iter().chain(TABLES).map(str::to_owned).collect();
    let asked = launch::ask_ssh(&arguments(&target, &question)).await;
    let answer = asked.map_err(|error| ErrorBody::of(&error))?;
    if answer.status.code().is_none_or(|code| code == SSH_FAILED) {
        return Err(unanswered(&target, last_line(&answer)));
    }
    // A guest without IPv6 has two tables, and `cat` fails over the others.
    let listeners = read_tables(&String::from_utf8_lossy(&answer.stdout))
        .map_err(|error| unanswered(&target, Some(error.to_string())))?;
    Ok(VmPorts { vm: target.vm.name, listeners })
}

fn unanswered(target: &SshTarget, cause: Option<String>) -> ErrorBody {
    let name = &target.vm.name;
    let message = format!("`{name}` did not say what it listens on");
    let body = ErrorBody::plain(ErrorCode::GuestFailed, message);
    ErrorBody { causes: cause.into_iter().collect(), ..body }
        .hint(format!("`banger vm ssh {name}` tells whether it can be entered"))
}

/// What ssh said last.
fn last_line(answer: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&answer.stderr);
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}
