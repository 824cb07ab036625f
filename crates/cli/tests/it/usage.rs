//! The command line itself.

use crate::fake::Fake;
use crate::transcript::{against, banger};
use insta::assert_snapshot;
use serde_json::Value;

/// What is said about a wrong command line, without the usage that follows.
fn refusal(args: &[&str]) -> String {
    let fake = Fake::new();
    let said = banger(&fake, args);
    assert!(said.starts_with("exit: 2\n--- stdout\n--- stderr\n"), "{said}");
    said.lines().nth(3).unwrap().to_owned()
}

#[test]
fn a_typing_slip_is_answered_by_the_right_word() {
    assert_snapshot!(banger(&Fake::new(), &["vm", "craete"]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: unrecognized subcommand 'craete'

      tip: a similar subcommand exists: 'create'

    Usage: banger vm [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn each_bad_value_has_its_own_message() {
    let cases: [&[&str]; 14] = [
        &["--name", ""],
        &["--name", "Otter"],
        &["--name=-otter"],
        &["--name", "otter-"],
        &["--image", "a_b"],
        &["--vcpu", "0"],
        &["--vcpu", "-1"],
        &["--vcpu", "33"],
        &["--memory", "0"],
        &["--memory", "-1G"],
        &["--memory", "64M"],
        &["--disk-size", "8GB"],
        &["--overlay-size", "129G"],
        &["--timeout", "0"],
    ];
    let said = cases.map(|case| refusal(&[&["vm", "create"], case].concat()));
    assert_snapshot!(said.join("\n"), @r"
    error: invalid value '' for '--name <NAME>': a name must not be empty
    error: invalid value 'Otter' for '--name <NAME>': `Otter` has 'O' in it; a name is made of a-z, 0-9 and `-`
    error: invalid value '-otter' for '--name <NAME>': `-otter` has a `-` at its start
    error: invalid value 'otter-' for '--name <NAME>': `otter-` has a `-` at its end
    error: invalid value 'a_b' for '--image <IMAGE>': `a_b` has '_' in it; a name is made of a-z, 0-9 and `-`
    error: invalid value '0' for '--vcpu <N>': 0 vCPUs cannot be had; give 1 to 32
    error: invalid value '-1' for '--vcpu <N>': -1 vCPUs cannot be had; give 1 to 32
    error: invalid value '33' for '--vcpu <N>': 33 vCPUs cannot be had; give 1 to 32
    error: invalid value '0' for '--memory <SIZE>': a size must be at least 1 MiB
    error: invalid value '-1G' for '--memory <SIZE>': `-1G` is not a size; write it as `512M`, `512MiB`, `8G`, `8GiB`, or a bare number of MiB
    error: invalid value '64M' for '--memory <SIZE>': 64 MiB of memory is too little; give at least 128 MiB
    error: invalid value '8GB' for '--disk-size <SIZE>': `8GB` is not a size; write it as `512M`, `512MiB`, `8G`, `8GiB`, or a bare number of MiB
    error: invalid value '129G' for '--overlay-size <SIZE>': a root overlay of 129 GiB cannot be had; give 16 MiB to 128 GiB
    error: invalid value '0' for '--timeout <SECONDS>': `0` is not a number of seconds, 1 or more
    ");
}

#[test]
fn an_empty_reference_is_refused() {
    assert_snapshot!(refusal(&["vm", "stop", ""]), @"error: invalid value '' for '<VM>...': a reference is a VM's name, its id, or a unique beginning of one");
}

#[test]
fn a_wrong_command_line_is_json_when_asked_for() {
    let fake = Fake::new();
    let output = against(&fake, &["--json", "vm", "create", "--vcpu", "0"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["code"], "invalid_request");
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("0 vCPUs cannot be had; give 1 to 32"), "{message}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn help_states_the_defaults() {
    assert_snapshot!(banger(&Fake::new(), &["vm", "create", "--help"]), @r"
    exit: 0
    --- stdout
    Create a VM and boot it

    Usage: banger vm create [OPTIONS]

    Options:
          --name <NAME>
              Its name: up to 63 of a-z, 0-9 and `-` [default: an adjective and a noun]

          --image <IMAGE>
              The image that it boots from [default: default]

      -h, --help
              Print help (see a summary with '-h')

    Size and network:
          --vcpu <N>
              Virtual processors, 1 to 32 [default: 2; configurable]

          --memory <SIZE>
              Memory, such as 512M or 2G [default: 1 GiB; configurable]

          --overlay-size <SIZE>
              The root disk, a private layer over the image [default: 8 GiB; configurable]

          --disk-size <SIZE>
              The work disk, mounted on /root [default: 8 GiB; configurable]

          --nat
              Let the guest reach beyond this host [the default; configurable]

          --no-nat
              Keep the guest from reaching beyond this host

    Boot:
          --no-start
              Only create the VM

          --wait <WAIT>
              What to wait for

              Possible values:
              - none:  Nothing but the VMM's start
              - guest: The image's init
              - ssh:   The guest's sshd

              [default: ssh]

          --timeout <SECONDS>
              How long to wait; the VM is left alone when it runs out

              [default: 120]

          --timings
              Show how long each phase took

    Global options:
          --json
              Print one JSON document instead of text

          --no-autostart
              Do not start or replace the daemon; fail if it does not run

              [env: BANGER_NO_AUTOSTART]

    Examples:
      banger vm create
      banger vm create --name otter --vcpu 4 --memory 4G --disk-size 20G
      banger vm create --no-nat --wait guest --timings
    --- stderr
    ");
}

#[test]
fn every_shell_has_a_completion_that_knows_the_verbs() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = against(&Fake::new(), &["completion", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("overlay-size") && script.contains("restart"), "{shell}");
        assert!(output.status.success() && output.stderr.is_empty());
    }
}
