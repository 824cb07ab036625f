//! One VM from its creation to its end: what it keeps, what it tells, and how it goes.

use crate::stage::{Site, answer_datagrams, until};
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Read};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

/// What is to stay the same for all of a VM's life, as the guest sees it.
const IDENTITY: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; \
                        ip -o -4 address show scope global | tr -s ' ' | cut -d' ' -f2,4";
/// Files in both disks, on the disks.
const WRITE: &str = "echo kept > /in-root; mkdir -p /root/dir; echo kept > /root/dir/in-work; sync";
const READ: &str = "cat /in-root /root/dir/in-work";
/// What the kernel says of a file system that was not unmounted.
const RECOVERIES: &str = "dmesg | grep -c 'EXT4-fs.*recover' || true";

#[test]
fn a_vm_keeps_its_files_and_identity_over_stop_and_start() {
    let site = Site::new();
    let created = site.boot(&["vm", "create", "--name", "otter"]);
    created.shows("otter: ready in ").shows(", at 172.16.0.2\n");
    told_of_a_running_vm(&site);
    let state = site.ssh("otter", "systemctl is-system-running --wait; systemctl --failed");
    assert!(state.starts_with("running\n"), "{state}");
    let identity = site.ssh("otter", &format!("{WRITE}; {IDENTITY}"));
    assert!(identity.starts_with("otter\n"), "{identity}");
    assert!(identity.ends_with("eth0 172.16.0.2/24\n"), "{identity}");
    commands_pass_through_ssh(&site);
    what_the_guest_listens_on_is_told(&site);
    ports_are_led_into_the_guest(&site);
    assert_ports_lead_into_the_guest(&site);

    assert_eq!(site.banger(&["vm", "stop", "otter"]).ok(), "otter: stopped\n");
    assert_ports_lead_nowhere();
    ended_in_good_order(&site);
    let entered = site.banger(&["vm", "ssh", "otter"]);
    entered.refused("`otter` cannot be entered: it is stopped");
    entered.says("hint: `banger vm start otter` boots it");
    assert_eq!(site.banger(&["vm", "stop", "otter"]).ok(), "otter: already stopped\n");

    site.boot(&["vm", "start", "otter"]).shows("otter: ready in ");
    the_start_can_be_read_from_the_log(&site);
    assert_ports_lead_into_the_guest(&site);
    let again = site.ssh("otter", &format!("{READ}; {RECOVERIES}; {IDENTITY}"));
    assert_eq!(again, format!("kept\nkept\n0\n{identity}"));

    // A restart from inside ends the VM, and that is no failure. ssh may lose its connection.
    site.banger(&["vm", "ssh", "otter", "--", "systemctl reboot"]);
    until("the VM has stopped", Duration::from_secs(90), || {
        site.text("otter", "state") == "stopped"
    });
    ended_in_good_order(&site);

    assert_eq!(site.banger(&["vm", "delete", "otter"]).ok(), "otter: deleted\n");
    site.finish();
}

fn told_of_a_running_vm(site: &Site) {
    let list = site.banger(&["vm", "list"]);
    let rows: Vec<Vec<&str>> =
        list.ok().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["NAME", "STATE", "READY", "IP"]);
    assert_eq!(rows[1][..4], ["otter", "running", "ssh", "172.16.0.2"]);
    assert_eq!(rows.len(), 2, "{list}");

    let vm = site.vm("otter");
    let told = ["name", "state", "readiness", "ip", "mac", "last_error"].map(|key| vm[key].clone());
    let mac = "06:00:ac:10:00:02";
    assert_eq!(
        told[..],
        [
            json!("otter"),
            json!("running"),
            json!("ssh"),
            json!("172.16.0.2"),
            json!(mac),
            json!(null)
        ]
    );
    let shown = site.banger(&["vm", "show", "otter"]);
    shown.shows("state         running, readiness ssh\n").shows("host name     otter.vm\n");
    shown.shows(&format!("id            {}\n", vm["id"].as_str().unwrap()));
    shown.shows(&format!("pid           {}\n", vm["pid"]));

    site.banger(&["vm", "logs", "otter"]).shows("banger-init: handover ");
    site.banger(&["vm", "stats"]).shows("otter  running ");
    let stats = site.banger(&["--json", "vm", "stats", "otter"]).json()[0]["stats"].clone();
    for key in ["cpu_ms", "resident_bytes", "root_bytes", "work_bytes", "uptime_ms"] {
        assert!(stats[key].as_u64().unwrap() > 0, "{key}: {stats}");
    }
}

fn commands_pass_through_ssh(site: &Site) {
    let ended = site.banger(&["vm", "ssh", "otter", "--", "echo to-stderr >&2; exit 7"]);
    ended.code(7);
    assert_eq!((ended.stdout(), ended.stderr()), ("", "to-stderr\n"));
    let quoted = ["vm", "ssh", "otter", "--", "printf", "%s|", "a b", "it's", "$HOME", ""];
    assert_eq!(site.banger(&quoted).ok(), "a b|it's|$HOME||");
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
    let piped = site.call(&["vm", "ssh", "otter", "--", "cksum", "-a", "crc"]).stdin(&bytes);
    let piped = piped.start().within(Duration::from_secs(90));
    assert!(piped.ok().contains(" 300000"), "{piped}");
}

fn ports_are_led_into_the_guest(site: &Site) {
    for (forward, from, to) in
        [("2222:22", "2222/tcp", "22"), ("5301:5300/udp", "5301/udp", "5300")]
    {
        let forwarded = site.banger(&["vm", "forward", "otter", forward]);
        let told = format!("otter: 127.0.0.1:{from} leads to otter.vm:{to}\n");
        assert_eq!(forwarded.ok(), told);
    }
}

/// What listens in the guest answers at the host's ports, and each of two programs that ask at once
/// hears the answer to its own question.
#[track_caller]
fn assert_ports_lead_into_the_guest(site: &Site) {
    assert_eq!(banner_at_2222().unwrap(), "SSH-");
    answer_datagrams(site);
    let (one, other) = (towards_5301(), towards_5301());
    let ask = |socket: &UdpSocket, word: &str| socket.send(word.as_bytes()).is_ok();
    let heard = |socket: &UdpSocket, word: &str| {
        let answer = answer(socket).ok();
        assert!(answer.as_ref().is_none_or(|answer| *answer == format!("otter: {word}")));
        answer.is_some()
    };
    until("both are answered", Duration::from_secs(90), || {
        ask(&one, "one") && ask(&other, "other") && heard(&one, "one") && heard(&other, "other")
    });
}

#[track_caller]
fn assert_ports_lead_nowhere() {
    assert_eq!(banner_at_2222().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let socket = towards_5301();
    socket.send(b"hello").unwrap();
    assert_eq!(answer(&socket).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// The first bytes of what answers at that port of the host.
fn banner_at_2222() -> io::Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:2222")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut banner = [0; 4];
    stream.read_exact(&mut banner)?;
    Ok(String::from_utf8_lossy(&banner).into_owned())
}

/// A program of the host that speaks to that port by UDP.
fn towards_5301() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:5301").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

/// The next datagram.
fn answer(socket: &UdpSocket) -> io::Result<String> {
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn what_the_guest_listens_on_is_told(site: &Site) {
    let ports = site.banger(&["vm", "ports", "otter"]);
    let rows: Vec<Vec<&str>> =
        ports.ok().lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["otter.vm:22", "tcp", "the", "network"]), "{ports}");
    let document = site.banger(&["--json", "vm", "ports", "otter"]).json()[0]["ports"].clone();
    assert_eq!(document.as_array().unwrap().len(), rows.len() - 1, "{document}");
}

/// The operation that the VM names, and nothing but its lines, tell what the start did.
fn the_start_can_be_read_from_the_log(site: &Site) {
    let op = site.text("otter", "changed_by");
    let log = site.banger(&["--json", "daemon", "logs", "--op", &op, "-n", "100000"]);
    let lines: Vec<Value> =
        log.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with =
        |msg: &str| -> Vec<&Value> { lines.iter().filter(|line| line["msg"] == msg).collect() };
    assert!(lines.iter().all(|line| line["op_id"] == op.as_str()), "{log}");
    let ends = [("start begins", "info"), ("start is done", "info")];
    assert_eq!(ends.map(|(msg, _)| with(msg).len()), [1, 1], "{log}");
    for stage in [
        "prepare the host",
        "start the VMM",
        "configure the machine",
        "boot the kernel",
        "wait for ssh",
    ] {
        let of = |msg: &str| with(msg).into_iter().filter(|line| line["stage"] == stage).count();
        assert_eq!((of("stage begins"), of("stage is done")), (1, 1), "{stage}: {log}");
    }
    assert!(with("stage is done").iter().all(|line| line["elapsed_ms"].is_number()), "{log}");
    let ensured = |role: &str| {
        let is_it = |line: &&&Value| line["key"].as_str().unwrap().ends_with(role);
        with("ensure").iter().filter(is_it).count()
    };
    for role in ["/bridge", "/firewall", "/initrd", "/tap", "/vmm"] {
        assert!(ensured(role) > 0, "{role}: {log}");
    }
    assert!(!with("call of the VMM's API").is_empty(), "{log}");
    let ran = |program: &str| {
        with("program ended").iter().any(|line| line["argv"].as_str().unwrap().contains(program))
    };
    assert!(ran("nft") && !with("program started").is_empty(), "{log}");
    assert_eq!(with("ready").len(), 2, "{log}");
    let info = lines.iter().filter(|line| line["level"] == "info").count();
    assert!(info <= 6, "at `info` a start is a handful of lines, and not {info}: {log}");
    // The same for people.
    let text = site.banger(&["daemon", "logs", "--op", &op, "-n", "100000"]);
    assert_eq!(text.ok().lines().filter(|line| line.contains(&op)).count(), lines.len());
}

/// The VM is stopped, the guest has unmounted its disks, and the host has nothing of the run.
#[track_caller]
fn ended_in_good_order(site: &Site) {
    let vm = site.vm("otter");
    let told = ["state", "readiness", "last_error", "pid"].map(|key| vm[key].clone());
    assert_eq!(told, [json!("stopped"), json!("none"), json!(null), json!(null)]);
    let console = site.banger(&["vm", "logs", "otter", "-n", "3"]);
    console.shows("reboot: Restarting system");
    site.assert_quiet();
}
