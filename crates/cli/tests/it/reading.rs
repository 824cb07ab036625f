//! Commands that change nothing.

use crate::fake::{Answer, Fake, version, vm};
use crate::transcript::{against, banger};
use hyper::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::process::Stdio;

fn two_vms() -> Fake {
    let vms = json!({ "vms": [vm("heron", "stopped", "none"), vm("otter", "running", "ssh")] });
    Fake::new().get("/v1/vms", vms).serve()
}

#[test]
fn list_is_a_table() {
    assert_snapshot!(banger(&two_vms(), &["vm", "list"]), @r"
    exit: 0
    --- stdout
    NAME   STATE    READY  IP          VCPU  MEMORY  DISK   IMAGE    AGE
    heron  stopped  none   172.16.0.2  2     1 GiB   8 GiB  default  3d
    otter  running  ssh    172.16.0.2  2     1 GiB   8 GiB  default  3d
    --- stderr
    ");
}

#[test]
fn list_as_json_is_the_daemons_document() {
    let output = against(&two_vms(), &["vm", "ls", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["vms"][1]["name"], "otter");
    assert_eq!(document["vms"][1]["spec"]["memory"], 1024);
    assert!(output.stderr.is_empty());
}

#[test]
fn list_without_vms_says_how_to_make_one() {
    let fake = Fake::new().get("/v1/vms", json!({ "vms": [] })).serve();
    assert_snapshot!(banger(&fake, &["vm", "list"]), @r"
    exit: 0
    --- stdout
    --- stderr
    note: there is no VM; `banger vm create` makes one
    ");
}

#[test]
fn show_tells_the_good_ones_and_then_the_errors() {
    let mut otter = vm("otter", "running", "ssh");
    otter["created_at"] = json!("2024-05-02T09:00:00Z");
    let fake = Fake::new().get("/v1/vms/otter", otter).serve();
    assert_snapshot!(banger(&fake, &["vm", "show", "none", "otter"]), @r"
    exit: 1
    --- stdout
    name          otter
    id            0f5k2m9q
    state         running, readiness ssh
    last error    -
    image         default
    vcpu          2
    memory        1 GiB
    root overlay  8 GiB (reflink)
    work disk     8 GiB
    nat           on
    address       172.16.0.2 (06:00:ac:10:00:02)
    host name     otter.vm
    forwards      -
    vmm           qemu
    pid           4711
    created       2024-05-02T09:00:00Z
    changed       2024-05-02T10:00:00Z, by operation k3m9x2p7qa
    directory     /state/vms/x
    console log   /state/vms/x/console.log
    vmm log       /state/vms/x/vmm.log
    --- stderr
    error: none: no VM is called `none`
    hint: `banger vm list` shows all VMs
    ");
}

#[test]
fn show_as_json_has_an_entry_for_each_reference() {
    let fake = Fake::new().get("/v1/vms/otter", vm("otter", "running", "ssh")).serve();
    let output = against(&fake, &["--json", "vm", "show", "none", "otter"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document[0]["ref"], "none");
    assert_eq!(document[0]["error"]["code"], "vm_not_found");
    assert_eq!(document[1]["vm"]["state"], "running");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn stats_of_all_are_one_table() {
    let stats = json!({
        "vm": vm("otter", "running", "ssh"), "cpu_ms": 61_500, "cpu_permille": 125,
        "resident_bytes": 268_435_456u64, "root_bytes": 5_242_880, "work_bytes": 4096,
        "uptime_ms": 7_200_000,
    });
    let fake = Fake::new()
        .get("/v1/vms", json!({ "vms": [vm("otter", "running", "ssh")] }))
        .get("/v1/vms/otter/stats", stats)
        .serve();
    assert_snapshot!(banger(&fake, &["vm", "stats"]), @r"
    exit: 0
    --- stdout
    NAME   STATE    CPU     MEMORY             ROOT             WORK             UPTIME
    otter  running  12.5 %  256.0 MiB / 1 GiB  5.0 MiB / 8 GiB  4.0 KiB / 8 GiB  2h
    --- stderr
    ");
}

#[test]
fn watched_stats_follow_each_other_where_there_is_no_terminal_and_show_who_comes() {
    let stats = |name: &str| {
        json!({
            "vm": vm(name, "running", "ssh"), "cpu_ms": 61_500, "cpu_permille": 125,
            "resident_bytes": 268_435_456u64, "root_bytes": 5_242_880, "work_bytes": 4096,
            "uptime_ms": 7_200_000,
        })
    };
    let (otter, heron) = (vm("otter", "running", "ssh"), vm("heron", "running", "ssh"));
    let fake = Fake::new()
        .get("/v1/vms", json!({ "vms": [otter] }))
        .get_after("GET /v1/vms/otter/stats", "/v1/vms", json!({ "vms": [heron] }))
        .get("/v1/vms/otter/stats", stats("otter"))
        .get("/v1/vms/heron/stats", stats("heron"))
        .serve();
    let mut command = against(&fake, &["vm", "stats", "-w"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The second look is shown before the third is taken.
    fake.wait_until_asked_times("GET /v1/vms/heron/stats", 2);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let shown = String::from_utf8(output.stdout).unwrap();
    let looks: Vec<&str> = shown.split("\n\n").collect();
    assert!(looks[0].contains("\notter  running  12.5 %") && !shown.contains('\x1b'), "{shown}");
    assert!(looks[1].contains("\nheron ") && !looks[1].contains("otter"), "{shown}");
    assert_eq!(output.stderr, b"");
}

#[test]
fn logs_are_passed_on_as_they_are() {
    let fake = Fake::new()
        .on(
            Method::GET,
            "/v1/vms/otter/logs?source=vmm&follow=true&tail=2",
            Answer::Bytes("\u{1b}[1mone\r\ntwo"),
        )
        .serve();
    let args = ["vm", "logs", "otter", "--vmm", "-f", "-n", "2"];
    let output = against(&fake, &args).output().unwrap();
    assert_eq!(output.stdout, b"\x1b[1mone\r\ntwo");
    assert!(output.status.success());
}

#[test]
fn version_shows_both_builds() {
    let text = |fake: &Fake| {
        let text = banger(fake, &["version"]);
        assert!(text.contains("\nbanger 0.1.0 (commit "), "{text}");
        text
    };
    let running = text(&Fake::new().get("/v1/version", version(1)).serve());
    assert!(running.contains("\nbangerd 0.1.0 (commit abc, API 1, build 1)\n"), "{running}");
    assert!(text(&Fake::new()).contains("\nbangerd: not running\n"));
}

pub(crate) fn status() -> Value {
    json!({
        "version": version(1), "pid": 12, "instance": "abcde", "socket": "/r/bangerd.sock",
        "state_dir": "/s", "runtime_dir": "/r", "log_file": "/s/bangerd.log",
        "vmm": { "chosen": "qemu", "because": "there is no /dev/kvm" },
        "overlay": { "chosen": "copy", "because": "ext4 cannot clone" },
        "bridge": "banger0, 172.16.0.1/24", "vms": 2, "running": 1,
        "dns": { "state": "serving", "address": "127.0.0.1:42069", "problem": null,
            "records": 1, "queries": 12,
            "guests": { "state": "serving", "address": "172.16.0.1:42069", "problem": null,
                "upstreams": ["9.9.9.9:53", "10.0.0.1:53"] },
            "host": { "state": "configured", "link": "banger0", "problem": null,
                "recipe": null } },
        "metrics": { "state": "serving", "address": "127.0.0.1:9469", "problem": null },
        "bundle": { "dir": "/s/bundle", "problem": null, "image": { "name": "default",
            "rootfs": "/s/bundle/rootfs.ext4", "kernel": "/k/vmlinux" },
            "content": { "manifest": null, "parts": [
                { "role": "kernel", "path": "/k/vmlinux", "bytes": 64, "sha256": null,
                    "named_by": "default_kernel in line 3 of /etc/b/config.toml" },
                { "role": "root file system", "path": "/s/bundle/rootfs.ext4", "bytes": 4096,
                    "sha256": null, "named_by": "bundle.json" }] } },
        "settings": [
            { "key": "nat", "value": "true", "source": "default" },
            { "key": "default_kernel", "value": "/k/vmlinux", "source": "/etc/b/config.toml",
                "line": 3 },
        ],
        "simulated": false,
    })
}

#[test]
fn the_daemons_status_names_the_source_of_each_setting() {
    let fake = Fake::new().get("/v1/daemon", status()).serve();
    assert_snapshot!(banger(&fake, &["daemon", "status"]), @r"
    exit: 0
    --- stdout
    daemon            bangerd 0.1.0 (commit abc)
    pid               12
    instance          abcde
    socket            /r/bangerd.sock
    state             /s
    runtime           /r
    log               /s/bangerd.log
    vmm               qemu: there is no /dev/kvm
    overlay           copy: ext4 cannot clone
    bundle            /s/bundle: image `default`
    kernel            /k/vmlinux, by default_kernel in line 3 of /etc/b/config.toml
    root file system  /s/bundle/rootfs.ext4, by bundle.json
    bridge            banger0, 172.16.0.1/24
    dns               127.0.0.1:42069; records: 1, queries answered: 12
    guest dns         172.16.0.1:42069; asked for other names: 9.9.9.9, 10.0.0.1
    host dns          systemd-resolved asks for names under `vm`, on banger0
    metrics           http://127.0.0.1:9469/metrics
    vms               2, of which 1 run

    nat             true (default)
    default_kernel  /k/vmlinux (/etc/b/config.toml:3)
    --- stderr
    ");
}

#[test]
fn the_daemons_log_is_chosen_from_and_shown_for_people() {
    let fake = Fake::new();
    let log = fake.dir().join("bangerd.log");
    let line = |level: &str, vm: &str, op: &str, msg: &str| {
        format!(
            r#"{{"ts":"2026-02-03T10:11:12.345678Z","level":"{level}","msg":"{msg}","target":"t","op_id":"{op}","vm_name":"{vm}"}}"#
        ) + "\n"
    };
    std::fs::write(
        log.with_extension("log.1"),
        line("info", "otter", "0000000001", "start begins"),
    )
    .unwrap();
    let rest = line("debug", "otter", "0000000001", "ensure")
        + &line("warn", "heron", "0000000002", "it ended");
    std::fs::write(&log, rest).unwrap();
    let mut status = status();
    status["log_file"] = json!(log);
    let fake = fake.get("/v1/daemon", status).serve();
    assert_snapshot!(banger(&fake, &["daemon", "logs", "--op", "0000000001"]), @r"
    exit: 0
    --- stdout
    2026-02-03 10:11:12.345 INFO  otter: start begins  op_id=0000000001
    2026-02-03 10:11:12.345 DEBUG otter: ensure  op_id=0000000001
    --- stderr
    ");
    assert_snapshot!(banger(&fake, &["daemon", "logs", "--level", "info", "-n", "1"]), @r"
    exit: 0
    --- stdout
    2026-02-03 10:11:12.345 WARN  heron: it ended  op_id=0000000002
    --- stderr
    ");
    let raw = banger(&fake, &["--json", "daemon", "logs", "--vm", "heron"]);
    assert!(raw.contains("--- stdout\n{\"ts\":\"2026-") && !raw.contains("otter"), "{raw}");
}

#[test]
fn the_logs_level_is_changed_for_a_while() {
    let now = json!({ "level": "debug", "configured": "info", "back_in_s": 600 });
    let fake = Fake::new().on(Method::PUT, "/v1/daemon/log-level", Answer::Json(200, now)).serve();
    assert_snapshot!(banger(&fake, &["daemon", "log-level", "debug", "--for", "10m"]), @r"
    exit: 0
    --- stdout
    debug, and `info` again in [TIME]
    --- stderr
    ");
    assert_eq!(fake.asked(), [r#"PUT /v1/daemon/log-level {"level":"debug","for_s":600}"#]);
}

#[test]
fn why_puts_the_telling_lines_first_and_marks_them() {
    let panic = "[ 1.02] Kernel panic - not syncing: VFS: Unable to mount root fs";
    let mut stopped = vm("otter", "stopped", "none");
    stopped["last_error"] = json!("the guest kernel panicked: VFS: Unable to mount root fs");
    let why = json!({
        "name": "otter", "id": "0f5k2m9q", "vm": stopped,
        "last_error": "the guest kernel panicked: VFS: Unable to mount root fs",
        "op_id": "k3m9x2p7qa",
        "stages": [
            { "stage": "start", "at_ms": 240, "took_ms": 240 },
            { "stage": "root", "at_ms": 1420, "took_ms": 1180, "warning": "it does not grow" },
            { "stage": "failed", "at_ms": 1500, "took_ms": 80, "during": "identity", "error": "no room" },
        ],
        "findings": [{ "telling": "no_root_device", "source": "console", "line": panic, "count": 2,
            "meaning": "the kernel found no root file system", "hint": "use another" }],
        "console": { "path": "/s/console.log", "lines": [
            { "text": "[ 0.00] Linux version 6.1" }, { "text": panic, "telling": "no_root_device" },
        ] },
        "vmm": { "path": "/s/vmm.log", "lines": [] },
    });
    let fake = Fake::new().get("/v1/vms/otter/why", why).serve();
    assert_snapshot!(banger(&fake, &["vm", "logs", "--why", "otter"]), @r"
    exit: 0
    --- stdout
    otter: stopped, readiness none
    last error: the guest kernel panicked: VFS: Unable to mount root fs
    operation: k3m9x2p7qa; `banger daemon logs --op k3m9x2p7qa` has its steps

    what tells why
      the kernel found no root file system (console, 2 times)
        [ 1.02] Kernel panic - not syncing: VFS: Unable to mount root fs
        hint: use another

    stages of the last boot
      start         240 ms  +240 ms
      root           1.4 s  +1.1 s     it does not grow
      failed         1.5 s  +80 ms     during identity: no room

    the end of what the console said (/s/console.log)
      [ 0.00] Linux version 6.1
    > [ 1.02] Kernel panic - not syncing: VFS: Unable to mount root fs

    the VMM said nothing (/s/vmm.log)
    --- stderr
    ");
    assert!(
        banger(&fake, &["--json", "vm", "logs", "--why", "otter"]).contains("\"took_ms\": 1180")
    );
}

#[test]
fn a_bundle_that_cannot_be_used_is_a_failure() {
    let problem = json!({ "code": "bundle_unusable", "message": "there is no bundle",
        "hints": ["build it with `banger bundle build`"] });
    let bundle = json!({ "dir": "/s/bundle", "problem": problem, "image": null });
    let fake = Fake::new().get("/v1/bundle", bundle).serve();
    assert_snapshot!(banger(&fake, &["bundle", "show"]), @r"
    exit: 1
    --- stdout
    directory  /s/bundle
    usable     no
    --- stderr
    error: there is no bundle
    hint: build it with `banger bundle build`
    ");
}
