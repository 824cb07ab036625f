//! `banger vm ssh`, and how ssh is called.
//!
//! Nothing of the user's own ssh is involved: no configuration, no agent, no known hosts. The host
//! key is known before the first contact, so a wrong one is always refused.

use super::Session;
use crate::args::SshArgs;
use crate::failure::Failure;
use crate::launch;
use banger_api::{ErrorBody, SshTarget};
use banger_core::error::ErrorCode;
use banger_core::ssh_config::path_value;
use banger_core::state::VmState;
use std::ffi::OsString;

/// A first handshake can take 5 s on a busy machine.
const CONNECT_TIMEOUT_S: u32 = 15;

pub(super) async fn run(session: &Session<'_>, args: &SshArgs) -> Result<(), Failure> {
    let target = session.client().await?.ssh(&args.reference).await?;
    enter(&target, &args.command)
}

/// Turns this process into an ssh session in the VM. It returns only when that fails.
pub(super) fn enter(target: &SshTarget, command: &[String]) -> Result<(), Failure> {
    check_runs(target)?;
    Err(launch::become_ssh(&arguments(target, command)).into())
}

/// Refuses a VM that cannot be entered.
pub(super) fn check_runs(target: &SshTarget) -> Result<(), ErrorBody> {
    let (name, state) = (&target.vm.name, target.vm.state);
    let hint = match state {
        VmState::Running => return Ok(()),
        VmState::Starting => format!("wait for it: `banger vm list` shows when `{name}` runs"),
        _ => format!("`banger vm start {name}` boots it"),
    };
    let message = format!("`{name}` cannot be entered: it is {state}");
    Err(ErrorBody::plain(ErrorCode::WrongState, message).hint(hint))
}

/// The command line of ssh.
pub(super) fn arguments(target: &SshTarget, command: &[String]) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["-F", "/dev/null", "-i"].map(OsString::from).into();
    args.push(target.key.clone().into_os_string());
    let options = [
        format!("UserKnownHostsFile={}", path_value(&target.known_hosts)),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        format!("HostKeyAlias={}", target.host_key_alias),
        "HostKeyAlgorithms=ssh-ed25519".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        format!("ConnectTimeout={CONNECT_TIMEOUT_S}"),
        "LogLevel=ERROR".to_owned(),
    ];
    for option in options {
        args.extend([OsString::from("-o"), OsString::from(option)]);
    }
    let host = format!("{}@{}", target.user, target.address);
    args.extend(["-p".to_owned(), target.port.to_string(), host].map(OsString::from));
    if !command.is_empty() {
        args.extend([OsString::from("--"), OsString::from(remote_line(command))]);
    }
    args
}

/// The line for the guest's shell. ssh itself would join the arguments with blanks and forget
/// where each began; so several are quoted, and a single one is passed as it is, which leaves a
/// way to use the guest's shell.
fn remote_line(command: &[String]) -> String {
    match command {
        [line] => line.clone(),
        several => several.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" "),
    }
}

/// An argument such that a POSIX shell reads it as one word.
fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        return arg.to_owned();
    }
    format!("'{}'", arg.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &[&str]) -> String {
        remote_line(&command.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn several_arguments_arrive_as_they_are_given() {
        assert_eq!(line(&["uname", "-a"]), "uname -a");
        assert_eq!(line(&["ls", "a b", "it's", "", "$HOME"]), r"ls 'a b' 'it'\''s' '' '$HOME'");
    }

    #[test]
    fn a_single_argument_is_a_line_for_the_shell() {
        assert_eq!(line(&["ls | wc -l"]), "ls | wc -l");
    }
}
