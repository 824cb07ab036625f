//! `vm forward`.

use crate::fake::{Answer, Fake, accepted, already, done, failed, vm};
use crate::transcript::{against, banger};
use hyper::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};

const FORWARDS: &str = "/v1/vms/otter/forwards";

fn otter() -> Value {
    let mut otter = vm("otter", "running", "ssh");
    otter["forwards"] = json!([
        { "protocol": "tcp", "host_port": 8080, "guest_port": 80, "state": "open", "problem": null },
        { "protocol": "udp", "host_port": 5353, "guest_port": 53, "state": "failed",
          "problem": "127.0.0.1:5353/udp is held by `avahi-daemon` (pid 611)" },
    ]);
    otter
}

#[test]
fn a_forward_is_made_removed_and_told() {
    let fake = Fake::new()
        .post(FORWARDS, vec![accepted(), done(Some(otter()))])
        .on(
            Method::DELETE,
            "/v1/vms/otter/forwards?host_port=5353&protocol=udp",
            Answer::Events(vec![accepted(), done(Some(otter()))]),
        )
        .serve();
    let said = banger(&fake, &["vm", "forward", "otter", "8080:80"])
        + &banger(&fake, &["vm", "forward", "otter", "5353/udp", "--remove"]);
    assert_snapshot!(said, @r"
    exit: 0
    --- stdout
    otter: 127.0.0.1:8080/tcp leads to otter.vm:80
    --- stderr
    exit: 0
    --- stdout
    otter: 127.0.0.1:5353/udp is free
    --- stderr
    ");
    assert_eq!(
        fake.asked(),
        [
            r#"POST /v1/vms/otter/forwards {"protocol":"tcp","host_port":8080,"guest_port":80}"#,
            "DELETE /v1/vms/otter/forwards?host_port=5353&protocol=udp",
        ]
    );
}

#[test]
fn forwards_are_listed_and_in_everything_about_a_vm() {
    let fake = Fake::new().get("/v1/vms/otter", otter()).serve();
    assert_snapshot!(banger(&fake, &["vm", "forward", "otter"]), @r"
    exit: 0
    --- stdout
    HOST            GUEST        PROTOCOL  STATE
    127.0.0.1:8080  otter.vm:80  tcp       open
    127.0.0.1:5353  otter.vm:53  udp       127.0.0.1:5353/udp is held by `avahi-daemon` (pid 611)
    --- stderr
    ");
    let shown = banger(&fake, &["vm", "show", "otter"]);
    let line = "\nforwards      8080:80/tcp open, 5353:53/udp 127.0.0.1:5353/udp is held by ";
    assert!(shown.contains(line), "{shown}");
    let output = against(&fake, &["--json", "vm", "forward", "otter"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document, otter()["forwards"]);
}

#[test]
fn a_vm_without_forwards_says_how_to_make_one() {
    let fake = Fake::new().get("/v1/vms/otter", vm("otter", "running", "ssh")).serve();
    assert_snapshot!(banger(&fake, &["vm", "forward", "otter"]), @r"
    exit: 0
    --- stdout
    --- stderr
    note: no port of this host leads to `otter`; `banger vm forward otter 8080:80` makes one
    ");
}

#[test]
fn what_is_wrong_is_told() {
    let refused = json!({ "code": "network_conflict",
        "message": "a port of the host cannot lead into a guest",
        "causes": ["127.0.0.1:8080/tcp is held by `python3` (pid 4711)"],
        "hints": ["choose another port of the host, as in `8081:80`"] });
    let fake = Fake::new().post(FORWARDS, vec![accepted(), failed(refused)]).serve();
    let taken = banger(&fake, &["vm", "forward", "otter", "8080"]);
    assert_snapshot!(taken, @r"
    exit: 1
    --- stdout
    --- stderr
    error: a port of the host cannot lead into a guest
    caused by: 127.0.0.1:8080/tcp is held by `python3` (pid 4711)
    hint: choose another port of the host, as in `8081:80`
    ");
    let wrong = banger(&fake, &["vm", "forward", "otter", "80:0"]);
    let text = "`80:0` is not a forward; write it as `8080`, `8080:80` or `8080:80/udp`";
    assert!(wrong.starts_with("exit: 2\n") && wrong.contains(text), "{wrong}");
    let nothing = banger(&fake, &["vm", "forward", "otter", "--remove"]);
    assert!(nothing.starts_with("exit: 2\n"), "{nothing}");
}

#[test]
fn what_is_already_so_is_said() {
    let so = vec![accepted(), already(otter())];
    let fake = Fake::new().post(FORWARDS, so).serve();
    let said = banger(&fake, &["vm", "forward", "otter", "8080:80"]);
    assert!(said.contains("\notter: already as asked\n"), "{said}");
}
