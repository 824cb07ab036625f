//! Imports that are refused, and images that cannot be deleted.

use super::files::rootfs;
use crate::fake::{Fake, accepted, failed};
use crate::simulated::Simulated;
use crate::transcript::banger;
use banger_core::id::OpId;
use banger_core::unit::{Bytes, MiB};
use banger_daemon::problem::describe_operation;
use banger_engine::OperationError;
use banger_image::import::{EntryError, ImportError, TarError};
use insta::assert_snapshot;
use serde_json::json;
use std::fmt::Write;
use std::fs;

/// What the client says of an import that fails with this. A simulated host imports nothing, so the
/// errors come from their types.
fn said(error: ImportError) -> String {
    let op_id: OpId = "9876543210".parse().unwrap();
    let error = OperationError { op_id, error: error.into(), left: Vec::new() };
    let events = vec![accepted(), failed(json!(describe_operation(&error)))];
    let fake = Fake::new().post("/v1/image-imports", events).serve();
    let said = banger(&fake, &["image", "import", "/x", "--name", "dev"]);
    said.split_once("--- stderr\n").unwrap().1.to_owned()
}

fn entry(entry: &str, source: EntryError) -> ImportError {
    ImportError::Entry { archive: "otter.tar".to_owned(), entry: entry.to_owned(), source }
}

#[test]
fn entries_that_would_leave_the_tree_are_refused_by_name() {
    let mut all = String::new();
    for (name, source) in [
        ("../etc/passwd", EntryError::Climbs),
        ("/etc/passwd", EntryError::Absolute),
        ("lib/passwd", EntryError::ThroughLink),
        ("passwd", EntryError::LinkOutside { target: "/etc/passwd".to_owned() }),
        ("home/disk", EntryError::Device { kind: "block", major: 8, minor: 0 }),
    ] {
        writeln!(all, "{}", said(entry(name, source))).unwrap();
    }
    assert_snapshot!(all, @r"
    error: could not import the image
    caused by: `otter.tar` has an entry `../etc/passwd` that cannot be taken
    caused by: its name has a part `..`
    hint: no honest archive has such an entry: use it only if you know who made it
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar` has an entry `/etc/passwd` that cannot be taken
    caused by: its name is absolute
    hint: make the archive with names that begin in the tree, for instance with `tar -C`
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar` has an entry `lib/passwd` that cannot be taken
    caused by: it lies behind a symbolic link that leads out of the tree
    hint: no honest archive has such an entry: use it only if you know who made it
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar` has an entry `passwd` that cannot be taken
    caused by: it is a hard link to `/etc/passwd`, which leads out of the tree
    hint: no honest archive has such an entry: use it only if you know who made it
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar` has an entry `home/disk` that cannot be taken
    caused by: it is a block device 8:0 outside of `/dev`
    hint: leave the device out; the guest's kernel makes the devices in `/dev`
    operation: 9876543210
    ");
}

#[test]
fn what_is_too_large_damaged_or_nothing_known_is_told() {
    let archive = || "otter.tar.gz".to_owned();
    let mut all = String::new();
    for error in [
        ImportError::TooLarge { archive: archive(), limit: Bytes(64 << 30) },
        ImportError::TooMany { archive: archive(), limit: 4_000_000 },
        ImportError::CutOff { archive: archive() },
        ImportError::Damaged { archive: archive(), source: TarError::Checksum },
        ImportError::Missing { path: "/x/otter.tar".into() },
        ImportError::UnknownSource { path: "/x/otter.zip".into(), found: None },
        ImportError::Empty { path: "/x/empty".into() },
        ImportError::TooSmall { needed: MiB::of(900), given: MiB::of(512) },
        ImportError::NotRoot,
        ImportError::NoPlatform { wanted: "linux/amd64".into(), found: vec!["linux/arm64".into()] },
        ImportError::Digest {
            part: "sha256:aa".into(),
            wanted: "sha256:aa".into(),
            found: "sha256:bb".into(),
        },
        ImportError::Io {
            action: "write",
            path: "/s/images/x/rootfs.ext4".into(),
            source: std::io::Error::from_raw_os_error(28),
        },
    ] {
        writeln!(all, "{}", said(error)).unwrap();
    }
    assert_snapshot!(all, @r"
    error: could not import the image
    caused by: `otter.tar.gz` unpacks to more than 64.0 GiB
    hint: allow more with `--max-size`, if you trust where it is from
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar.gz` has more than 4000000 files and directories
    hint: `banger daemon logs --op 9876543210` shows each step
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar.gz` is cut off: it ends before the archive does
    hint: make or copy it once more
    operation: 9876543210

    error: could not import the image
    caused by: `otter.tar.gz` is damaged
    caused by: a header's checksum is wrong
    hint: make or copy it once more
    operation: 9876543210

    error: could not import the image
    caused by: `/x/otter.tar` does not exist
    hint: the daemon reads the path, on the machine that it runs on
    operation: 9876543210

    error: could not import the image
    caused by: `/x/otter.zip` is neither a directory, nor an archive, nor an image that can be imported
    hint: give a directory, a tar archive (plain, gzip, XZ or Zstandard), an OCI image layout, or what `docker save` writes; register an ext4 image with `banger image register`
    operation: 9876543210

    error: could not import the image
    caused by: `/x/empty` holds no files
    hint: give the directory or archive that has `/etc` and `/usr`
    operation: 9876543210

    error: could not import the image
    caused by: the root file system needs 900 MiB; 512 MiB were asked for
    hint: give a larger `--size`, or none
    operation: 9876543210

    error: could not import the image
    caused by: importing an image needs root, since the files of a root file system have owners
    hint: run the daemon as root
    operation: 9876543210

    error: could not import the image
    caused by: there is no image for linux/amd64 in it: it has linux/arm64
    hint: copy the image that you mean into a layout of its own, with `skopeo copy`
    operation: 9876543210

    error: could not import the image
    caused by: `sha256:aa` of the image has the digest sha256:bb; sha256:aa was announced
    hint: make or copy it once more
    operation: 9876543210

    error: could not import the image
    caused by: could not write `/s/images/x/rootfs.ext4`
    caused by: No space left on device (os error 28)
    hint: free some room in the daemon's state directory
    operation: 9876543210
    ");
}

#[test]
fn an_image_that_vms_use_is_not_deleted_and_they_are_named() {
    let host = Simulated::new(&[]);
    fs::write(host.path("own.ext4"), rootfs()).unwrap();
    host.does(&[
        &["image", "register", "--name", "own", "--rootfs", "own.ext4"],
        &["vm", "create", "--name", "otter", "--image", "own"],
        &["vm", "create", "--name", "heron", "--image", "own", "--no-start"],
    ]);
    assert_snapshot!(host.refusal(&["image", "delete", "own"]), @r"
    error: the image `own` is in use by `heron`, `otter`
    hint: delete those VMs first: `banger vm delete heron otter`
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["image", "delete", "default"]), @r"
    error: the image `default` is the runtime bundle's: it would be back at once
    hint: remove the bundle's directory first
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["image", "register", "--name", "own", "--rootfs", "own.ext4"]), @r"
    error: an image called `own` exists already
    hint: pick another name, or give that image one with `banger image rename own OTHER`
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["image", "rename", "own", "default"]), @r"
    error: an image called `default` exists already
    hint: pick another name, or give that image one with `banger image rename default OTHER`
    ");
}

#[test]
fn what_stands_against_an_import_is_told_before_anything_is_read() {
    let host = Simulated::new(&[]);
    let import = ["image", "import", "otter.tar", "--name", "dev"];
    assert_snapshot!(host.refusal(&import), @r"
    error: `[DIR]/otter.tar` does not exist
    hint: the daemon reads the path, on the machine that it runs on
    ");
    let host = Simulated::new(&["--sim-lack", "mke2fs,root,room"]);
    fs::write(host.path("otter.tar"), "").unwrap();
    let kernel = ["--kernel", "vmlinux"];
    assert_snapshot!(host.refusal(&[&import[..], &kernel].concat()), @r"
    error: `dev` cannot be imported for 4 reasons
    caused by: `[DIR]/vmlinux` does not exist
    caused by: no root file system can be written: there is no program `mke2fs`
    caused by: the daemon is not root, and may not make files of other owners, as a root file system has
    caused by: 1.0 MiB are left, and an import needs 16.0 MiB at least
    hint: the daemon reads the path, on the machine that it runs on
    hint: install it with `apt install e2fsprogs`
    hint: stop it with `banger daemon stop`, and use `sudo banger`
    hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
    ");
    host.assert_nothing_is_left();
}
