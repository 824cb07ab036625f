//! `vm ports`, with a stand-in for ssh.

use crate::fake::{Fake, ssh_target, vm};
use crate::transcript::{against, script, transcript};
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::process::Output;

fn run(fake: &Fake, ssh: &str, args: &[&str]) -> Output {
    script(fake.dir(), "ssh", ssh);
    against(fake, args).env("PATH", fake.dir()).output().unwrap()
}

fn otter() -> Fake {
    Fake::new()
        .get("/v1/vms/otter/ssh", ssh_target(vm("otter", "running", "ssh")))
        .get("/v1/vms/heron/ssh", ssh_target(vm("heron", "stopped", "none")))
        .serve()
}

/// A guest that has no IPv6 and no table of it; it is asked for four.
const GUEST: &str = r#"
for word in "$@"; do last=$word; done
[ "$last" = "cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6" ] || exit 9
echo "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  inode"
echo "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0  900"
echo "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0  901"
echo "cat: /proc/net/tcp6: No such file or directory" >&2
echo "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid drops"
echo "  10: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   101  0"
exit 1"#;

#[test]
fn what_a_guest_listens_on_is_listed_and_a_vm_that_does_not_run_is_named() {
    let fake = otter();
    let output = run(&fake, GUEST, &["vm", "ports", "otter", "heron"]);
    assert_snapshot!(transcript(&output, fake.dir()), @r"
    exit: 1
    --- stdout
    ADDRESS        PROTOCOL  REACHED FROM
    otter.vm:22    tcp       the network
    otter.vm:5353  udp       the network
    otter.vm:8080  tcp       the guest alone
    --- stderr
    error: heron: `heron` cannot be entered: it is stopped
    hint: `banger vm start heron` boots it
    ");
}

#[test]
fn as_json_each_port_has_its_address_and_what_it_is_open_on() {
    let fake = otter();
    let output = run(&fake, GUEST, &["--json", "vm", "ports", "otter"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document[0]["ref"], "otter");
    assert_eq!(
        document[0]["ports"][2],
        json!({
            "address": "otter.vm:8080", "port": 8080, "protocol": "tcp", "reach": "loopback",
            "addresses": ["127.0.0.1"],
        })
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_guest_that_does_not_answer_is_told_with_what_ssh_said() {
    let fake = otter();
    let ssh = "echo 'ssh: connect to host 172.16.0.2 port 22: Connection refused' >&2; exit 255";
    let refused = run(&fake, ssh, &["vm", "ports", "otter"]);
    assert_snapshot!(transcript(&refused, fake.dir()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `otter` did not say what it listens on
    caused by: ssh: connect to host 172.16.0.2 port 22: Connection refused
    hint: `banger vm ssh otter` tells whether it can be entered
    ");
    let silent = run(&fake, "exit 127", &["vm", "ports", "otter"]);
    assert_snapshot!(transcript(&silent, fake.dir()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `otter` did not say what it listens on
    caused by: the kernel's tables of sockets are not there
    hint: `banger vm ssh otter` tells whether it can be entered
    ");
}
