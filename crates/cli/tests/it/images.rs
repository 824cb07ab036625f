//! `banger image`.

use crate::fake::{Answer, Fake, accepted, done, failed};
use crate::transcript::{against, banger};
use hyper::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};

fn image(name: &str, problem: &Value) -> Value {
    json!({
        "id": "0f5k2m9q", "name": name, "kind": "unmanaged", "origin": "registered",
        "rootfs": format!("/images/{name}.ext4"), "kernel": "/b/vmlinux", "initrd": null,
        "boot_args": ["quiet"], "size_bytes": 2_147_483_648u64, "digest": "sparse-sha256:00ff",
        "created_at": (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(75)).to_string(),
        "used_by": ["heron", "otter"], "problem": problem,
    })
}

fn lost() -> Value {
    json!({
        "code": "image_unusable", "message": "cannot use the image `old`",
        "causes": ["the root file system `/images/old.ext4` does not exist"], "hints": ["check the path"],
    })
}

#[test]
fn list_is_a_table_with_what_is_wrong_beside_it() {
    let images = json!({ "images": [image("dev", &Value::Null), image("old", &lost())] });
    let fake = Fake::new().get("/v1/images", images).serve();
    assert_snapshot!(banger(&fake, &["image", "list"]), @r"
    exit: 0
    --- stdout
    NAME  KIND       ORIGIN      SIZE     VMS  USABLE  AGE
    dev   unmanaged  registered  2.0 GiB  2    yes     3d
    old   unmanaged  registered  2.0 GiB  2    no      3d
    --- stderr
    error: old: cannot use the image `old`
    caused by: the root file system `/images/old.ext4` does not exist
    hint: check the path
    ");
}

#[test]
fn show_tells_everything() {
    let mut dev = image("dev", &lost());
    dev["created_at"] = json!("2024-05-02T09:00:00Z");
    let fake = Fake::new().get("/v1/images/dev", dev).serve();
    assert_snapshot!(banger(&fake, &["image", "show", "dev"]), @r"
    exit: 0
    --- stdout
    name              dev
    id                0f5k2m9q
    kind              unmanaged
    origin            registered
    root file system  /images/dev.ext4
    size              2.0 GiB
    digest            sparse-sha256:00ff
    kernel            /b/vmlinux
    initrd            -
    boot args         quiet
    used by           heron otter
    created           2024-05-02T09:00:00Z
    usable            no
    problem           cannot use the image `old`
    caused by         the root file system `/images/old.ext4` does not exist
    --- stderr
    ");
}

#[test]
fn register_sends_absolute_paths_and_answers_with_the_image() {
    let fake = Fake::new()
        .post("/v1/images", vec![accepted(), done(None)])
        .get("/v1/images/dev", image("dev", &Value::Null))
        .serve();
    let args = ["image", "register", "--name", "dev", "--rootfs", "/images/../images/dev.ext4"];
    assert_snapshot!(banger(&fake, &args), @r"
    exit: 0
    --- stdout
    dev: registered
    --- stderr
    ");
    let mut output =
        against(&fake, &["--json", "image", "register", "--name", "dev", "--rootfs", "x"]);
    let output = output.current_dir("/").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["name"], "dev");
    assert!(fake.asked().contains(&r#"POST /v1/images {"name":"dev","rootfs":"/x"}"#.to_owned()));
}

#[test]
fn promote_answers_with_the_image_and_says_whether_it_was_managed_already() {
    for changed in [true, false] {
        let mut ending = done(None);
        ending["outcome"]["changed"] = changed.into();
        let fake = Fake::new()
            .post("/v1/images/dev/promote", vec![accepted(), ending])
            .get("/v1/images/dev", image("dev", &Value::Null))
            .serve();
        let shown = banger(&fake, &["image", "promote", "dev"]);
        let said = if changed { "dev: now managed\n" } else { "dev: managed already\n" };
        assert!(shown.contains(said) && shown.starts_with("exit: 0"), "{shown}");
    }
}

#[test]
fn import_shows_warnings_and_sends_absolute_paths() {
    let note = json!({ "event": "note", "message": "it has no ssh server" });
    let fake = Fake::new()
        .post("/v1/image-imports", vec![accepted(), note, done(None)])
        .get("/v1/images/dev", image("dev", &Value::Null))
        .serve();
    let args =
        ["image", "import", "/sources/layout", "--name", "dev", "--size", "4G", "--max-size", "9G"];
    assert_snapshot!(banger(&fake, &args), @r"
    exit: 0
    --- stdout
    dev: imported
    --- stderr
    note: it has no ssh server
    ");
    let mut output = against(&fake, &["--json", "image", "import", "x.tar", "--name", "dev"]);
    let output = output.current_dir("/").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["name"], "dev");
    let asked = fake.asked();
    for request in [
        r#"{"name":"dev","source":"/sources/layout","size":4096,"max_size":9216}"#,
        r#"{"name":"dev","source":"/x.tar"}"#,
    ] {
        assert!(asked.contains(&format!("POST /v1/image-imports {request}")), "{asked:?}");
    }
}

#[test]
fn an_imported_image_tells_where_it_came_from() {
    let mut dev = image("dev", &Value::Null);
    dev["created_at"] = json!("2024-05-02T09:00:00Z");
    dev["import"] = json!({
        "source": "/sources/layout", "kind": "oci_layout", "archive_digest": null,
        "manifest_digest": "sha256:01", "config_digest": "sha256:02",
        "layers": ["sha256:03", "sha256:04"], "entries": 7,
        "container": {
            "created": null, "author": null, "entrypoint": ["/bin/otter"], "cmd": ["swim", "fast"],
            "env": ["A=1"], "working_dir": "/srv", "user": null, "stop_signal": null,
            "exposed_ports": [], "volumes": [], "labels": { "role": "web" },
        },
        "warnings": ["it has no ssh server"],
    });
    let fake = Fake::new().get("/v1/images/dev", dev).serve();
    let shown = banger(&fake, &["image", "show", "dev"]);
    let after = shown.split_once("usable            yes\n").unwrap().1;
    assert_snapshot!(after, @r"
    imported from     /sources/layout
    source kind       oci layout
    manifest digest   sha256:01
    config digest     sha256:02
    layer             sha256:03
    layer             sha256:04
    entry point       /bin/otter
    command           swim fast
    directory         /srv
    environment       A=1
    label             role=web
    warning           it has no ssh server
    --- stderr
    ");
}

#[test]
fn rename_and_delete_say_what_was_done_and_what_was_refused() {
    let in_use = json!({
        "code": "image_in_use", "message": "the image `dev` is in use by `otter`",
        "hints": ["delete those VMs first: `banger vm delete otter`"],
    });
    let fake = Fake::new()
        .on(Method::PATCH, "/v1/images/de", Answer::Json(200, image("prod", &Value::Null)))
        .on(Method::DELETE, "/v1/images/dev", Answer::Events(vec![accepted(), failed(in_use)]))
        .on(Method::DELETE, "/v1/images/old", Answer::Events(vec![accepted(), done(None)]))
        .serve();
    let commands: [&[&str]; 2] =
        [&["image", "rename", "de", "prod"], &["image", "rm", "dev", "old"]];
    let said: String = commands.iter().map(|args| banger(&fake, args)).collect();
    assert_snapshot!(said, @r"
    exit: 0
    --- stdout
    de: now `prod`
    --- stderr
    exit: 1
    --- stdout
    old: deleted
    --- stderr
    error: dev: the image `dev` is in use by `otter`
    hint: delete those VMs first: `banger vm delete otter`
    ");
    assert!(fake.asked().contains(&r#"PATCH /v1/images/de {"name":"prod"}"#.to_owned()));
}
