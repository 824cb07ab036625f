//! `banger bundle`: what it asks the daemon, and what it makes of the answers.

use crate::fake::{Fake, accepted, already, begin, done, end, failed, note};
use crate::transcript::{against, banger, transcript};
use insta::assert_snapshot;
use serde_json::{Value, json};

fn bundle() -> Value {
    let sum = "5f2c31aa9c7e".to_owned() + &"0".repeat(52);
    json!({
        "dir": "/s/bundle", "problem": null, "image": null,
        "content": {
            "parts": [
                { "role": "kernel", "path": "/s/bundle/vmlinux", "named_by": "bundle.json",
                  "bytes": 43_687_936, "sha256": sum },
                { "role": "initrd", "path": "/k/initrd",
                  "named_by": "default_initrd in line 3 of /etc/b/config.toml",
                  "bytes": 4096, "sha256": null },
                { "role": "root file system", "path": "/s/bundle/rootfs.ext4",
                  "named_by": "bundle.json", "bytes": null, "sha256": null },
                { "role": "module tree", "path": "/s/bundle/modules", "named_by": "bundle.json",
                  "bytes": null, "sha256": null },
            ],
            "manifest": {
                "version": 2, "name": "default", "boot_args": ["net.ifnames=0", "quiet"],
                "provenance": {
                    "built": "2026-01-02T03:04:05Z", "suite": "bookworm",
                    "packages": [{ "name": "bash", "version": "5.2" }],
                    "archive": { "from": "https://example.org/b.tar", "sha256": sum,
                        "fetched": "2026-02-03T04:05:06Z" },
                },
            },
        },
    })
}

#[test]
fn show_tells_each_part_and_where_it_came_from() {
    let fake = Fake::new().get("/v1/bundle", bundle()).serve();
    assert_snapshot!(banger(&fake, &["bundle", "show"]), @r"
    exit: 0
    --- stdout
    directory    /s/bundle
    usable       yes
    manifest     bundle.json, version 2
    image        default
    boot args    net.ifnames=0 quiet
    built        2026-01-02T03:04:05Z
    suite        bookworm
    packages     1
    archive      https://example.org/b.tar
    archive sum  5f2c31aa9c7e0000000000000000000000000000000000000000000000000000
    fetched      2026-02-03T04:05:06Z

    PART              SIZE      SHA-256       PATH                   BY
    kernel            41.6 MiB  5f2c31aa9c7e  /s/bundle/vmlinux      bundle.json
    initrd            4.0 KiB   -             /k/initrd              default_initrd in line 3 of /etc/b/config.toml
    root file system  missing   -             /s/bundle/rootfs.ext4  bundle.json
    module tree       -         -             /s/bundle/modules      bundle.json
    --- stderr
    ");
    let mut legacy = bundle();
    legacy["content"]["manifest"] = Value::Null;
    legacy["content"]["parts"] = json!([]);
    let fake = Fake::new().get("/v1/bundle", legacy).serve();
    assert_snapshot!(banger(&fake, &["bundle", "show"]), @r"
    exit: 0
    --- stdout
    directory  /s/bundle
    usable     yes
    manifest   none; the files are known by their names
    --- stderr
    ");
}

#[test]
fn verify_tells_that_all_is_well_and_else_all_that_is_not() {
    let well = vec![
        accepted(),
        begin("reading vmlinux"),
        end("reading vmlinux", 3),
        note("no checksum of `/s/bundle/initrd` is known"),
        done(None),
    ];
    let fake = Fake::new().post("/v1/bundle/verify", well).serve();
    assert_snapshot!(banger(&fake, &["bundle", "verify"]), @r"
    exit: 0
    --- stdout
    the bundle is as it should be; read in [TIME]
    --- stderr
    note: no checksum of `/s/bundle/initrd` is known
    ");
    let error = json!({
        "code": "bundle_unusable", "message": "the runtime bundle is not as it should be",
        "causes": ["the bundle `/s/bundle` has 2 faults", "`/s/bundle/vmlinux` has changed",
            "`/s/bundle/initrd` has 9 bytes, and had 8 when it was recorded"],
        "hints": ["build a bundle with `banger bundle build`"],
    });
    let fake = Fake::new().post("/v1/bundle/verify", vec![accepted(), failed(error)]).serve();
    assert_snapshot!(banger(&fake, &["bundle", "verify"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the runtime bundle is not as it should be
    caused by: the bundle `/s/bundle` has 2 faults
    caused by: `/s/bundle/vmlinux` has changed
    caused by: `/s/bundle/initrd` has 9 bytes, and had 8 when it was recorded
    hint: build a bundle with `banger bundle build`
    ");
}

#[test]
fn fetch_names_the_archive_by_its_whole_path() {
    let amount = json!({ "event": "amount", "done": 5, "total": 10 });
    let events = vec![accepted(), begin("fetching and unpacking the archive"), amount, done(None)];
    let fake = Fake::new().post("/v1/bundle/fetch", events).serve();
    let run = |args: &[&str]| {
        let args = [&["bundle", "fetch"], args].concat();
        let output = against(&fake, &args).current_dir(fake.dir()).output().unwrap();
        transcript(&output, fake.dir())
    };
    assert_snapshot!(run(&["--from", "b.tar", "--sha256", "abc"]), @r"
    exit: 0
    --- stdout
    bundle fetched in [TIME]
    --- stderr
    ");
    run(&["--from", "https://example.org/b.tar", "--sha256", "abc"]);
    run(&[]);
    let dir = fake.dir().canonicalize().unwrap();
    std::fs::write(dir.join("runtime-bundle.toml"), "").unwrap();
    run(&[]);
    let asked = fake.asked().join("\n").replace(dir.to_str().unwrap(), "[DIR]");
    assert_snapshot!(asked, @r#"
    POST /v1/bundle/fetch {"from":"[DIR]/b.tar","sha256":"abc"}
    POST /v1/bundle/fetch {"from":"https://example.org/b.tar","sha256":"abc"}
    POST /v1/bundle/fetch {}
    POST /v1/bundle/fetch {"pin":"[DIR]/runtime-bundle.toml"}
    "#);
}

#[test]
fn a_bundle_that_is_the_archives_already_is_no_failure() {
    let mut same = already(Value::Null);
    same["outcome"].as_object_mut().unwrap().remove("vm");
    let fake = Fake::new().post("/v1/bundle/fetch", vec![accepted(), same]).serve();
    assert_snapshot!(banger(&fake, &["bundle", "fetch", "--from", "/b.tar"]), @r"
    exit: 0
    --- stdout
    the bundle is this archive's already, and whole
    --- stderr
    ");
}

#[test]
fn a_checksum_without_an_archive_is_refused() {
    let said = banger(&Fake::new(), &["bundle", "fetch", "--sha256", "abc"]);
    assert!(said.starts_with("exit: 2\n") && said.contains("--from <ARCHIVE>"), "{said}");
}
