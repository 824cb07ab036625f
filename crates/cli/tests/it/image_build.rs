//! `banger image build`.

use crate::fake::{Answer, Fake, accepted, begin, done, failed};
use crate::transcript::{against, banger, end_of, send, start};
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

const BUILD: [&str; 4] = ["image", "build", "--name", "dev"];

pub(crate) fn built() -> Value {
    json!({
        "id": "0f5k2m9q", "name": "dev", "kind": "managed", "origin": "built",
        "rootfs": "/s/images/0f5k2m9q/rootfs.ext4", "kernel": null, "initrd": null,
        "boot_args": [], "size_bytes": null, "digest": null, "used_by": [], "problem": null,
        "created_at": "2024-05-02T09:00:00Z",
    })
}

#[test]
fn a_build_sends_absolute_paths_and_answers_with_the_image() {
    let line = json!({ "event": "line", "text": "Setting up git" });
    let fake = Fake::new()
        .post("/v1/image-builds", vec![accepted(), line, done(None)])
        .get("/v1/images/dev", built())
        .serve();
    let more = ["--script", "s", "--copy", "c:/opt/c/", "--package", "git", "--size", "9G"];
    let mut command = against(&fake, &[&["--json"], &BUILD[..], &more].concat());
    let output = command.current_dir("/").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["name"], output.stderr.len()), (&json!("dev"), 0));
    assert_eq!(
        fake.asked()[0],
        "POST /v1/image-builds {\"name\":\"dev\",\"packages\":[\"git\"],\"size\":9216,\
         \"scripts\":[\"/s\"],\"copies\":[{\"from\":\"/c\",\"to\":\"/opt/c/\"}],\
         \"keep_on_failure\":false}"
    );
}

#[test]
fn a_failed_build_says_why_and_where_the_log_is() {
    let error = json!({
        "code": "guest_failed", "message": "could not build the image `dev`",
        "causes": ["could not install the packages: `apt-get` ended with exit code 100"],
        "hints": ["the guest ended with: E: Unable to locate package otter"],
        "log_path": "/s/builds/0.log",
    });
    let fake = Fake::new().post("/v1/image-builds", vec![accepted(), failed(error)]).serve();
    let said = banger(&fake, &BUILD);
    for text in [
        "exit: 1",
        "error: could not build the image `dev`",
        "caused by: could not install the packages: `apt-get` ended with exit code 100",
        "hint: the guest ended with: E: Unable to locate package otter",
        "/s/builds/0.log",
    ] {
        assert!(said.contains(text), "{text} is not in:\n{said}");
    }
}

#[test]
fn an_interrupt_cancels_the_build_and_awaits_its_end() {
    let fake = Fake::new()
        .on(Method::POST, "/v1/image-builds", Answer::Open(vec![accepted(), begin("wait")]))
        .on(Method::DELETE, "/v1/image-builds/0123456789", Answer::Json(202, Value::Null))
        .serve();
    let child = start(&fake, &BUILD);
    fake.wait_until_asked("POST /v1/image-builds");
    send(&child, Signal::INT);
    fake.wait_until_asked("DELETE /v1/image-builds/");
    // This build does not end, so a second one is needed.
    send(&child, Signal::INT);
    let said = end_of(child, &fake);
    for text in ["exit: 130", "interrupted; ending the build", "note: the daemon goes on with it"] {
        assert!(said.contains(text), "{text} is not in:\n{said}");
    }
}
