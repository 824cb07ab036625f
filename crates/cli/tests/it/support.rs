//! What `banger support-bundle` gathers, and what it never takes.

use crate::fake::{Fake, vm};
use crate::pty::Terminal;
use crate::reading::status;
use crate::transcript::{against, script, transcript};
use insta::assert_snapshot;
use ruzstd::decoding::StreamingDecoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// What must not be in any bundle.
const SECRET: &str = "hunter2";

/// A state directory with logs, and with secrets where they could be.
fn state(fake: &Fake) -> PathBuf {
    let state = fake.dir().join(".local/state/banger");
    let put = |name: &str, text: &str| {
        let path = state.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("bangerd.log", "{\"level\":\"info\",\"msg\":\"serving\",\"token\":\"hunter2\"}\n");
    put("bangerd.log.1", "older\n");
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n";
    put("vms/0f5k2m9q/console.log", &format!("Linux version\n{key}login: \n"));
    put("vms/0f5k2m9q/vmm.log", &"long enough\n".repeat(200_000));
    put("vms/0f5k2m9q/work.img", SECRET);
    put("ssh/id_ed25519", key);
    put("state.db", SECRET);
    let config = fake.dir().join(".config/banger");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), "vcpu = 4 # hunter2\n").unwrap();
    state
}

fn fake() -> Fake {
    let fake = Fake::new();
    let mut status = status();
    status["state_dir"] = json!(state(&fake));
    fake.get("/v1/daemon", status)
        .get("/v1/doctor", json!({ "checks": [] }))
        .get("/v1/vms", json!({ "vms": [vm("otter", "running", "ssh")] }))
        .get("/v1/images", json!({ "images": [] }))
        .get("/v1/bundle", json!({ "dir": "/s/bundle", "problem": null, "image": null }))
        .get(
            "/v1/audit",
            json!({
                "audit": { "leaked": [], "missing": [] }, "inventory": ["vm/0f5k2m9q/tap bgtap"],
                "ledger": ["vm/0f5k2m9q/tap"],
            }),
        )
}

/// What a run came to, without sizes and times, which differ between machines.
fn support(fake: &Fake, args: &[&str]) -> String {
    script(fake.dir(), "ssh", "exit 0");
    let args = [&["support-bundle"], args].concat();
    let output =
        against(fake, &args).env("PATH", fake.dir()).current_dir(fake.dir()).output().unwrap();
    let said = transcript(&output, fake.dir());
    said.lines().map(|line| steady(line) + "\n").collect()
}

fn steady(line: &str) -> String {
    let Some((before, size)) = line.split_once(".json ") else {
        let written = line.strip_prefix("written: ").and_then(|rest| rest.split_once(", "));
        return written.map_or(line, |(path, _)| path).to_owned();
    };
    match size.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("{before}.json [SIZE]"),
        false => line.to_owned(),
    }
}

/// The files of a bundle with their texts.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(path).unwrap();
    let mut archive = Vec::new();
    StreamingDecoder::new(bytes.as_slice()).unwrap().read_to_end(&mut archive).unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name.split_once('/').unwrap().1.to_owned(), text);
    }
    files
}

#[test]
fn the_list_is_shown_first_and_no_secret_is_in_what_is_written() {
    let fake = fake().serve();
    assert_snapshot!(support(&fake, &["--yes", "-o", "b.tar.zst"]), @r"
    exit: 0
    --- stdout
    FILE                           SIZE     NOTE
    versions.json [SIZE]
    doctor.json [SIZE]
    daemon.json [SIZE]
    vms.json [SIZE]
    images.json [SIZE]
    bundle.json [SIZE]
    ledger.json [SIZE]
    config.toml                    9 B
    logs/bangerd.log               53 B     1 secret removed
    logs/bangerd.log.1             6 B
    logs/vms/0f5k2m9q/console.log  32 B     1 secret removed
    logs/vms/0f5k2m9q/vmm.log      1.1 MiB  the two ends of 2.2 MiB

    Keys, disks and records stay where they are.
    [DIR]/b.tar.zst
    --- stderr
    ");
    let path = fake.dir().join("b.tar.zst");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let files = unpacked(&path);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_snapshot!(names.join("\n"), @r"
    bundle.json
    config.toml
    daemon.json
    doctor.json
    images.json
    ledger.json
    list.json
    logs/bangerd.log
    logs/bangerd.log.1
    logs/vms/0f5k2m9q/console.log
    logs/vms/0f5k2m9q/vmm.log
    versions.json
    vms.json
    ");
    for (name, text) in &files {
        assert!(!text.contains(SECRET), "{name}: {text}");
    }
    assert_eq!(files["config.toml"], "vcpu = 4\n");
    assert_eq!(files["logs/vms/0f5k2m9q/console.log"], "Linux version\n[removed]\nlogin: \n");
    let ledger: Value = serde_json::from_str(&files["ledger.json"]).unwrap();
    assert_eq!(ledger["ledger"], json!(["vm/0f5k2m9q/tap"]));
}

#[test]
fn without_a_daemon_it_has_what_is_there_and_says_what_is_missing() {
    let fake = Fake::new();
    state(&fake);
    assert_snapshot!(support(&fake, &["--yes", "-o", "b.tar.zst"]), @r"
    exit: 0
    --- stdout
    FILE                           SIZE     NOTE
    versions.json [SIZE]
    doctor.json [SIZE]
    config.toml                    9 B
    logs/bangerd.log               53 B     1 secret removed
    logs/bangerd.log.1             6 B
    logs/vms/0f5k2m9q/console.log  32 B     1 secret removed
    logs/vms/0f5k2m9q/vmm.log      1.1 MiB  the two ends of 2.2 MiB

    Left out:
    daemon.json  the daemon does not answer at `[DIR]/bangerd.sock`
    vms.json     the daemon does not answer at `[DIR]/bangerd.sock`
    images.json  the daemon does not answer at `[DIR]/bangerd.sock`
    bundle.json  the daemon does not answer at `[DIR]/bangerd.sock`
    ledger.json  the daemon does not answer at `[DIR]/bangerd.sock`

    Keys, disks and records stay where they are.
    [DIR]/b.tar.zst
    --- stderr
    ");
}

#[test]
fn nothing_is_written_unasked_and_nothing_is_replaced() {
    let fake = fake().serve();
    let said = support(&fake, &["-o", "b.tar.zst"]);
    let (_, stderr) = said.split_once("--- stderr\n").unwrap();
    assert_snapshot!(stderr, @r"
    error: nothing was written: nobody can be asked
    hint: `--yes` writes it without asking
    ");
    assert!(said.starts_with("exit: 1\n"), "{said}");
    assert!(said.contains("logs/bangerd.log"), "the list is shown: {said}");
    let listed = against(&fake, &["--json", "support-bundle"]).output().unwrap();
    assert_eq!(listed.status.code(), Some(1));
    let list: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(list["file"], Value::Null);
    assert_eq!(list["files"][0]["name"], "versions.json");
    assert!(!fake.dir().join("b.tar.zst").exists());

    fs::write(fake.dir().join("b.tar.zst"), "mine").unwrap();
    let said = support(&fake, &["--yes", "-o", "b.tar.zst"]);
    let (_, stderr) = said.split_once("--- stderr\n").unwrap();
    assert_snapshot!(stderr, @r"
    error: the support bundle cannot be written to `b.tar.zst`
    caused by: File exists (os error 17)
    hint: name another file with `-o`
    ");
    assert_eq!(fs::read_to_string(fake.dir().join("b.tar.zst")).unwrap(), "mine");
}

/// What came of a run at a terminal, at which somebody answers the question with these keys: how it
/// ended, and what was shown after the question.
fn answered(fake: &Fake, keys: &str) -> (ExitStatus, String) {
    script(fake.dir(), "ssh", "exit 0");
    let mut command = against(fake, &["support-bundle", "-o", "b.tar.zst"]);
    command.env("PATH", fake.dir()).env("TERM", "dumb").env("NO_COLOR", "1");
    let mut terminal = Terminal::open(command.current_dir(fake.dir()));
    terminal.expect("Write it to `b.tar.zst`? [y/N]\r\n");
    terminal.type_keys(keys);
    let (ended, shown) = terminal.close();
    let (list, after) = shown.split_once("Write it to `b.tar.zst`? [y/N]\n").unwrap();
    assert!(list.contains("logs/vms/0f5k2m9q/console.log"), "the list comes first: {shown}");
    (ended, after.replace(fake.dir().to_str().unwrap(), "[DIR]"))
}

#[test]
fn somebody_at_a_terminal_who_says_yes_gets_it() {
    for yes in ["y", "Y", "yes"] {
        let fake = fake().serve();
        let (ended, said) = answered(&fake, &format!("{yes}\r"));
        assert!(ended.success(), "{said}");
        let (echo, written) = said.split_once('\n').unwrap();
        assert_eq!((echo, steady(written.trim_end())), (yes, "[DIR]/b.tar.zst".to_owned()));
        assert!(unpacked(&fake.dir().join("b.tar.zst")).contains_key("doctor.json"));
    }
}

#[test]
fn anything_but_a_yes_writes_nothing() {
    // Nothing at all, and the end of what is typed, are no yes either.
    for (keys, echo) in [("N\r", "N\n"), ("\r", "\n"), ("yess\r", "yess\n"), ("\x04", "")] {
        let fake = fake().serve();
        let (ended, said) = answered(&fake, keys);
        assert_eq!(ended.code(), Some(1), "{said}");
        let said =
            said.strip_prefix(echo).unwrap_or_else(|| panic!("{keys:?} is not shown: {said}"));
        let refused = "error: nothing was written: that was no yes\n\
                       hint: `--yes` writes it without asking\n";
        assert_eq!(said, refused);
        assert!(!fake.dir().join("b.tar.zst").exists());
    }
}

#[test]
fn an_interrupt_at_the_question_writes_nothing() {
    let fake = fake().serve();
    let (ended, said) = answered(&fake, "\x03");
    assert_eq!(ended.signal(), Some(2), "{said}");
    assert_eq!(said, "^C");
    assert!(!fake.dir().join("b.tar.zst").exists());
}
