//! `banger ssh-config`, on homes of all kinds.

use crate::fake::Fake;
use crate::transcript::banger;
use insta::assert_snapshot;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

const INSTALL: [&str; 2] = ["ssh-config", "--install"];
const UNINSTALL: [&str; 2] = ["ssh-config", "--uninstall"];

/// The fake's directory is the home too.
fn daemon() -> Fake {
    let config = json!({ "file": "/s/ssh/config", "text": "Host *.vm\n    User root\n" });
    Fake::new().get("/v1/ssh-config", config).serve()
}

fn config(fake: &Fake) -> PathBuf {
    fake.dir().join(".ssh/config")
}

fn with_config(text: &str) -> Fake {
    let fake = daemon();
    fs::create_dir(fake.dir().join(".ssh")).unwrap();
    fs::write(config(&fake), text).unwrap();
    fake
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn without_a_flag_the_lines_are_printed_and_nothing_is_made() {
    let fake = daemon();
    assert_snapshot!(banger(&fake, &["ssh-config"]), @r"
    exit: 0
    --- stdout
    Host *.vm
        User root
    --- stderr
    ");
    assert!(!fake.dir().join(".ssh").exists());
}

#[test]
fn a_home_without_any_configuration_gets_one_with_the_right_modes() {
    let fake = daemon();
    assert_snapshot!(banger(&fake, &INSTALL), @r"
    exit: 0
    --- stdout
    `[DIR]/.ssh/config` now includes banger's: `ssh otter.vm` enters a VM of that name
    --- stderr
    ");
    assert_snapshot!(fs::read_to_string(config(&fake)).unwrap(), @r#"
    # >>> banger ssh-config >>>
    Include "/s/ssh/config"
    # <<< banger ssh-config <<<
    "#);
    assert_eq!((mode(fake.dir().join(".ssh")), mode(config(&fake))), (0o700, 0o600));
    assert_snapshot!(banger(&fake, &INSTALL), @r"
    exit: 0
    --- stdout
    `[DIR]/.ssh/config` includes banger's already: `ssh otter.vm` enters a VM of that name
    --- stderr
    ");
    assert_snapshot!(banger(&fake, &["--json", "ssh-config", "--uninstall"]), @r#"
    exit: 0
    --- stdout
    {
      "changed": true,
      "file": "[DIR]/.ssh/config"
    }
    --- stderr
    "#);
    assert_eq!(fs::read(config(&fake)).unwrap(), b"");
}

#[test]
fn what_the_user_has_keeps_its_bytes_its_mode_and_its_link() {
    let text = "# mine\r\nHost *\r\n  User me";
    let fake = with_config("");
    let dotfiles = fake.dir().join("dotfiles");
    fs::write(&dotfiles, text).unwrap();
    fs::set_permissions(&dotfiles, Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(config(&fake)).unwrap();
    symlink("../dotfiles", config(&fake)).unwrap();
    assert!(banger(&fake, &INSTALL).contains("now includes"));
    assert!(fs::read_to_string(&dotfiles).unwrap().ends_with(text));
    assert_snapshot!(banger(&fake, &UNINSTALL), @r"
    exit: 0
    --- stdout
    `[DIR]/.ssh/config` is as it was before
    --- stderr
    ");
    assert_eq!(fs::read_to_string(&dotfiles).unwrap(), text);
    assert_eq!(fs::read_link(config(&fake)).unwrap().to_str(), Some("../dotfiles"));
    assert_eq!(mode(dotfiles), 0o640);
    assert_snapshot!(banger(&fake, &UNINSTALL), @r"
    exit: 0
    --- stdout
    there is nothing of banger's in `[DIR]/.ssh/config`
    --- stderr
    ");
    let left = fs::read_dir(fake.dir().join(".ssh")).unwrap().count();
    assert_eq!(left, 1, "no other file is left beside it");
}

#[test]
fn a_fence_that_was_edited_is_told_and_left_alone() {
    let text = "# >>> banger ssh-config >>>\nInclude \"/s/ssh/config\"\nHost mine\n";
    let fake = with_config(text);
    assert_snapshot!(banger(&fake, &INSTALL), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `[DIR]/.ssh/config` cannot be changed without a loss
    caused by: line 1 is a marker of banger's that has no counterpart
    hint: remove banger's markers and what of the lines between them is not wanted, and repeat the command
    ");
    assert!(banger(&fake, &UNINSTALL).starts_with("exit: 1"));
    assert_eq!(fs::read_to_string(config(&fake)).unwrap(), text);
}

#[test]
fn what_cannot_be_read_is_told_and_left_alone() {
    let fake = with_config("");
    fs::remove_file(config(&fake)).unwrap();
    symlink("nowhere", config(&fake)).unwrap();
    assert_snapshot!(banger(&fake, &INSTALL), @r"
    exit: 1
    --- stdout
    --- stderr
    error: could not read `[DIR]/.ssh/config`
    caused by: No such file or directory (os error 2)
    hint: `banger ssh-config` prints the lines, which can be put anywhere by hand
    ");
    assert!(!fake.dir().join(".ssh/nowhere").exists());
    fs::remove_file(config(&fake)).unwrap();
    fs::create_dir(config(&fake)).unwrap();
    assert!(banger(&fake, &UNINSTALL).contains("could not read `[DIR]/.ssh/config`"));
}

#[test]
fn taking_it_out_needs_no_daemon() {
    let fake = Fake::new();
    let block = "# >>> banger ssh-config >>>\nInclude \"/s/ssh/config\"\n\
                 # <<< banger ssh-config <<<\n";
    fs::create_dir(fake.dir().join(".ssh")).unwrap();
    fs::write(config(&fake), format!("{block}Host a\n")).unwrap();
    assert!(banger(&fake, &UNINSTALL).starts_with("exit: 0"));
    assert_eq!(fs::read_to_string(config(&fake)).unwrap(), "Host a\n");
}
