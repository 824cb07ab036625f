//! How an error of each code looks on a terminal. A code without an example fails.

use crate::fake::{Fake, accepted, failed};
use crate::transcript::banger;
use banger_api::ErrorBody;
use banger_core::error::ErrorCode;
use serde_json::json;
use std::fmt::Write;

/// Message, causes, hints and log of an error as a user meets it.
type Example =
    (&'static str, &'static [&'static str], &'static [&'static str], Option<&'static str>);

const CONSOLE: Option<&str> = Some("/s/vms/0f5k2m9q/console.log");
const VMM: Option<&str> = Some("/s/failed/0f5k2m9q/vmm.log");
const WHY: &str = "`banger vm logs --why otter` puts together what is known";

/// Errors about the request and about VMs.
fn of_request(code: ErrorCode) -> Option<Example> {
    Some(match code {
        ErrorCode::InvalidRequest => (
            "the work disk cannot shrink from 8 GiB to 1 GiB",
            &[],
            &["disks only grow: give a larger size, or make a new VM"],
            None,
        ),
        ErrorCode::VmNotFound => ("no VM is called `ottre`", &[], &["did you mean `otter`?"], None),
        ErrorCode::AmbiguousReference => (
            "`ot` could be any of `otter`, `otter-two`",
            &[],
            &["give more of the name, or the whole id"],
            None,
        ),
        ErrorCode::NameTaken => (
            "a VM called `otter` exists already",
            &[],
            &["pick another name, or delete that VM with `banger vm delete otter`"],
            None,
        ),
        ErrorCode::WrongState => (
            "cannot kill `otter` while it is stopped",
            &[],
            &["`banger vm start otter` starts it"],
            None,
        ),
        ErrorCode::Interrupted => {
            ("the start of `otter` was ended by another request", &[], &[], None)
        }
        ErrorCode::GuestFailed => (
            "`otter` ended while it booted: the guest kernel panicked",
            &[],
            &["the console ended with: Kernel panic - not syncing", WHY],
            CONSOLE,
        ),
        ErrorCode::Timeout => (
            "`otter` was not ready within 120 s; it reached `vmm` and goes on booting",
            &[],
            &["`--timeout` gives it longer", WHY],
            CONSOLE,
        ),
        _ => return None,
    })
}

/// Errors about the host and what banger puts on it.
fn of_host(code: ErrorCode) -> Option<Example> {
    Some(match code {
        ErrorCode::ImageNotFound => (
            "there is no image called `debian`",
            &[],
            &["`banger image list` shows all images"],
            None,
        ),
        ErrorCode::ImageInUse => (
            "the image `dev` is in use by `heron`, `otter`",
            &[],
            &["delete those VMs first: `banger vm delete heron otter`"],
            None,
        ),
        ErrorCode::ImageUnusable => (
            "cannot use the image `dev`",
            &["the root file system `/images/dev.ext4` does not exist"],
            &["check the path"],
            None,
        ),
        ErrorCode::BundleUnusable => (
            "cannot use the runtime bundle",
            &["the bundle's directory `/s/bundle` does not exist"],
            &["build a bundle with `banger bundle build`"],
            None,
        ),
        ErrorCode::SubnetExhausted => (
            "all 253 addresses of 172.16.0.1/24 are taken",
            &[],
            &["delete a VM, or set a `subnet` with a shorter prefix in the configuration file"],
            None,
        ),
        ErrorCode::NetworkConflict => (
            "could not prepare the network",
            &["`banger0` exists and is not this daemon's"],
            &["set another `bridge` in the configuration file"],
            None,
        ),
        ErrorCode::NoSpace => (
            "could not prepare the host for `otter`",
            &["could not copy `/s/vms/0f5k2m9q/root.img`", "No space left on device (os error 28)"],
            &["free some room on the file system"],
            None,
        ),
        ErrorCode::NotPermitted => (
            "the daemon is not root, and may make neither interfaces nor firewall rules",
            &[],
            &["stop it with `banger daemon stop`, and use `sudo banger`"],
            None,
        ),
        ErrorCode::MissingDependency => (
            "a VM cannot start on this host for 2 reasons",
            &[
                "QEMU is not installed: there is no `/usr/bin/qemu-system-x86_64`",
                "nftables is not installed: there is no program `nft`",
            ],
            &[
                "install it with `apt install qemu-system-x86`, or set `qemu_bin`",
                "install it with `apt install nftables`",
            ],
            None,
        ),
        ErrorCode::Host => (
            "could not prepare the host for `otter`",
            &["could not make the interface `babcdet0f5k2m9q`", "Device or resource busy"],
            &[],
            None,
        ),
        ErrorCode::Vmm => (
            "the VMM of `otter` did not do as asked",
            &["the VMM refused `PUT /actions` with 400: cannot open /dev/kvm"],
            &["run `banger doctor`: it says whether KVM can be used here", WHY],
            VMM,
        ),
        _ => return None,
    })
}

/// Errors about the daemon.
fn of_daemon(code: ErrorCode) -> Option<Example> {
    Some(match code {
        ErrorCode::InvalidConfig => (
            "unknown key `memroy` in line 2 of `/etc/b/config.toml`",
            &[],
            &["did you mean `memory`?"],
            None,
        ),
        ErrorCode::AlreadyRunning => (
            "another daemon serves `/s`: process 12",
            &[],
            &["`banger daemon stop` ends it; VMs go on running"],
            None,
        ),
        ErrorCode::DaemonUnreachable => (
            "the daemon does not answer at `/r/bangerd.sock`",
            &["Connection refused (os error 111)"],
            &["start it with `banger daemon start`"],
            None,
        ),
        ErrorCode::VersionMismatch => (
            "the records have version 9, and this banger knows up to 3",
            &[],
            &["install that version of banger again"],
            None,
        ),
        ErrorCode::Internal => {
            ("the record `0f5k2m9q` is damaged", &["expected value at line 1 column 1"], &[], None)
        }
        _ => return None,
    })
}

/// What the client says of an error of each code that has an example.
fn transcripts(example: fn(ErrorCode) -> Option<Example>) -> String {
    let mut all = String::new();
    for code in ErrorCode::ALL {
        let Some((message, causes, hints, log_path)) = example(code) else { continue };
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        let body = ErrorBody {
            causes: owned(causes),
            hints: owned(hints),
            op_id: Some("9876543210".parse().unwrap()),
            log_path: log_path.map(Into::into),
            ..ErrorBody::plain(code, message)
        };
        let fake = Fake::new().post("/v1/vms", vec![accepted(), failed(json!(body))]).serve();
        let said = banger(&fake, &["vm", "create"]);
        let before = format!("exit: {}\n--- stdout\n--- stderr\n", code.exit_code());
        let said = said.strip_prefix(&before).unwrap_or_else(|| panic!("`{code}` ends otherwise"));
        let said = said.strip_suffix("operation: 9876543210\n").unwrap();
        writeln!(all, "{code}\n{said}").unwrap();
    }
    all.trim_end().to_owned()
}

#[test]
fn each_code_has_one_example() {
    for code in ErrorCode::ALL {
        let examples = [of_request(code), of_host(code), of_daemon(code)];
        assert_eq!(examples.into_iter().flatten().count(), 1, "`{code}`");
    }
}

#[test]
fn errors_of_requests_and_vms_say_what_why_and_what_to_do() {
    insta::assert_snapshot!(transcripts(of_request), @r"
    invalid_request
    error: the work disk cannot shrink from 8 GiB to 1 GiB
    hint: disks only grow: give a larger size, or make a new VM

    vm_not_found
    error: no VM is called `ottre`
    hint: did you mean `otter`?

    ambiguous_reference
    error: `ot` could be any of `otter`, `otter-two`
    hint: give more of the name, or the whole id

    name_taken
    error: a VM called `otter` exists already
    hint: pick another name, or delete that VM with `banger vm delete otter`

    wrong_state
    error: cannot kill `otter` while it is stopped
    hint: `banger vm start otter` starts it

    interrupted
    error: the start of `otter` was ended by another request

    guest_failed
    error: `otter` ended while it booted: the guest kernel panicked
    hint: the console ended with: Kernel panic - not syncing
    hint: `banger vm logs --why otter` puts together what is known
    log: /s/vms/0f5k2m9q/console.log

    timeout
    error: `otter` was not ready within 120 s; it reached `vmm` and goes on booting
    hint: `--timeout` gives it longer
    hint: `banger vm logs --why otter` puts together what is known
    log: /s/vms/0f5k2m9q/console.log
    ");
}

#[test]
fn errors_of_the_host_say_what_why_and_what_to_do() {
    insta::assert_snapshot!(transcripts(of_host), @r"
    image_not_found
    error: there is no image called `debian`
    hint: `banger image list` shows all images

    image_in_use
    error: the image `dev` is in use by `heron`, `otter`
    hint: delete those VMs first: `banger vm delete heron otter`

    image_unusable
    error: cannot use the image `dev`
    caused by: the root file system `/images/dev.ext4` does not exist
    hint: check the path

    bundle_unusable
    error: cannot use the runtime bundle
    caused by: the bundle's directory `/s/bundle` does not exist
    hint: build a bundle with `banger bundle build`

    subnet_exhausted
    error: all 253 addresses of 172.16.0.1/24 are taken
    hint: delete a VM, or set a `subnet` with a shorter prefix in the configuration file

    network_conflict
    error: could not prepare the network
    caused by: `banger0` exists and is not this daemon's
    hint: set another `bridge` in the configuration file

    no_space
    error: could not prepare the host for `otter`
    caused by: could not copy `/s/vms/0f5k2m9q/root.img`
    caused by: No space left on device (os error 28)
    hint: free some room on the file system

    not_permitted
    error: the daemon is not root, and may make neither interfaces nor firewall rules
    hint: stop it with `banger daemon stop`, and use `sudo banger`

    missing_dependency
    error: a VM cannot start on this host for 2 reasons
    caused by: QEMU is not installed: there is no `/usr/bin/qemu-system-x86_64`
    caused by: nftables is not installed: there is no program `nft`
    hint: install it with `apt install qemu-system-x86`, or set `qemu_bin`
    hint: install it with `apt install nftables`

    host
    error: could not prepare the host for `otter`
    caused by: could not make the interface `babcdet0f5k2m9q`
    caused by: Device or resource busy

    vmm
    error: the VMM of `otter` did not do as asked
    caused by: the VMM refused `PUT /actions` with 400: cannot open /dev/kvm
    hint: run `banger doctor`: it says whether KVM can be used here
    hint: `banger vm logs --why otter` puts together what is known
    log: /s/failed/0f5k2m9q/vmm.log
    ");
}

#[test]
fn errors_of_the_daemon_say_what_why_and_what_to_do() {
    insta::assert_snapshot!(transcripts(of_daemon), @r"
    invalid_config
    error: unknown key `memroy` in line 2 of `/etc/b/config.toml`
    hint: did you mean `memory`?

    already_running
    error: another daemon serves `/s`: process 12
    hint: `banger daemon stop` ends it; VMs go on running

    daemon_unreachable
    error: the daemon does not answer at `/r/bangerd.sock`
    caused by: Connection refused (os error 111)
    hint: start it with `banger daemon start`

    version_mismatch
    error: the records have version 9, and this banger knows up to 3
    hint: install that version of banger again

    internal
    error: the record `0f5k2m9q` is damaged
    caused by: expected value at line 1 column 1
    ");
}
