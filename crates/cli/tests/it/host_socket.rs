//! The socket of another user. Needs root, to be two users.

use crate::fake::Fake;
use crate::program::{BANGER, command};
use crate::transcript::transcript;
use insta::assert_snapshot;
use std::fs::{Permissions, copy, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

/// `nobody` on Debian.
const OTHER: u32 = 65534;

#[test]
fn another_users_socket_is_named_as_such() {
    let fake = Fake::new().serve();
    // The program lies where only its builder may look, so the other user gets a copy.
    let theirs = fake.dir().join("banger");
    copy(BANGER, &theirs).unwrap();
    set_permissions(fake.dir(), Permissions::from_mode(0o711)).unwrap();
    set_permissions(fake.socket(), Permissions::from_mode(0o600)).unwrap();
    let output =
        command(&theirs, fake.dir()).args(["vm", "list"]).uid(OTHER).gid(OTHER).output().unwrap();
    assert_snapshot!(transcript(&output, fake.dir()), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the socket `[DIR]/bangerd.sock` belongs to user 0, and this is user 65534
    hint: run the command as that user, or set `BANGER_RUNTIME_DIR` to a directory of your own
    ");
    assert!(fake.asked().is_empty());
}
