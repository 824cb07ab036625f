//! What the real ssh makes of it, and a file of another user. Needs root, to be two users.

use crate::fake::Fake;
use crate::program::{BANGER, command, ssh};
use banger_core::ssh_config;
use serde_json::json;
use std::fs::{self, Permissions, copy, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// `nobody` on Debian.
const OTHER: u32 = 65534;

/// A daemon whose file is there, and a home with a configuration of the user's own.
fn daemon(users: &str) -> Fake {
    let fake = Fake::new();
    let dir = fake.dir().to_owned();
    let file = dir.join("a b/ssh/config");
    let text = ssh_config::render("root", &dir.join("a b/ssh/id"), &dir.join("a b/ssh/known"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::create_dir(dir.join(".ssh")).unwrap();
    fs::write(&file, &text).unwrap();
    set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.join(".ssh/config"), users).unwrap();
    fake.get("/v1/ssh-config", json!({ "file": file, "text": text })).serve()
}

/// How ssh would go about it.
fn plan(fake: &Fake, host: &str) -> String {
    let config = fake.dir().join(".ssh/config");
    let output = ssh().arg("-G").arg("-F").arg(config).arg(host).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ssh_takes_bangers_word_for_vms_and_the_users_for_others() {
    let fake = daemon("Host other\n  User them\nHost *\n  User me\n  ForwardAgent yes\n");
    let before = plan(&fake, "other");
    let run = command(Path::new(BANGER), fake.dir()).args(["ssh-config", "--install"]).output();
    assert!(run.unwrap().status.success());
    for host in ["otter.vm", "app.otter.vm"] {
        let plan = plan(&fake, host);
        let has = |line: &str| assert!(plan.lines().any(|known| known == line), "{line}: {plan}");
        has("user root");
        has("stricthostkeychecking true");
        has("hostkeyalgorithms ssh-ed25519");
        has("identitiesonly yes");
        has("forwardagent yes");
        has(&format!("identityfile {}", fake.dir().join("a b/ssh/id").display()));
        has(&format!("userknownhostsfile {}", fake.dir().join("a b/ssh/known").display()));
    }
    assert_eq!(plan(&fake, "other"), before);
}

#[test]
fn a_file_of_another_user_stays_theirs_and_one_that_may_not_be_read_is_told() {
    let fake = daemon("Host a\n");
    let (dir, config) = (fake.dir(), fake.dir().join(".ssh/config"));
    chown(&config, Some(OTHER), Some(OTHER)).unwrap();
    let install = ["ssh-config", "--install"];
    let run = command(Path::new(BANGER), dir).args(install).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let owner = fs::metadata(&config).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (OTHER, OTHER));

    chown(&config, Some(0), Some(0)).unwrap();
    set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    for open in [dir.to_owned(), dir.join(".ssh")] {
        set_permissions(open, Permissions::from_mode(0o755)).unwrap();
    }
    let before = fs::read(&config).unwrap();
    // The program lies where only its builder may look, so the other user gets a copy.
    let theirs = dir.join("banger");
    copy(BANGER, &theirs).unwrap();
    let uninstall = ["ssh-config", "--uninstall"];
    let refused = command(&theirs, dir).args(uninstall).uid(OTHER).gid(OTHER).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.starts_with("error: could not read `"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    assert_eq!(fs::read(&config).unwrap(), before);
}
