//! `scripts/customize.sh`, with a script in the place of `banger`.

use crate::program::command;
use crate::pty::sides;
use crate::transcript::{script, transcript};
use insta::assert_snapshot;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/customize.sh");

/// A `banger` that writes down what it is asked, and does as a test says.
#[derive(Debug)]
struct Place(TempDir);

impl Place {
    /// `cases` are arms of a `case` over all arguments.
    fn new(cases: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let text = format!(
            "echo \"$*\" | head -n 1 | sed 's/customize-[0-9]*/customize-1/' >>{}/asked\n\
             case \"$*\" in {cases} esac",
            place.dir().display()
        );
        script(place.dir(), "banger", &text);
        fs::create_dir(place.dir().join("tmp")).unwrap();
        place
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    /// What it came to, in which the directory and the VM have always the same names.
    fn run(&self, args: &[&str], stdin: impl Into<Stdio>) -> String {
        let mut command = command(Path::new(SCRIPT), self.dir());
        let path = format!("{}:{}", self.dir().display(), std::env::var("PATH").unwrap());
        command.args(args).stdin(stdin).env("PATH", path).env("TMPDIR", self.dir().join("tmp"));
        let said = transcript(&command.output().unwrap(), self.dir()).replace(SCRIPT, "[SCRIPT]");
        let mut steady = String::new();
        for line in said.lines() {
            let line = match line.split_once("'customize-") {
                Some((before, after)) => {
                    format!("{before}'customize-1{}", after.trim_start_matches(char::is_numeric))
                }
                None => line.to_owned(),
            };
            let line = match line.split_once("/tmp/customize.") {
                Some((before, _)) => format!("{before}/tmp/customize.X"),
                None => line,
            };
            steady += &(line + "\n");
        }
        steady
    }

    /// Runs it in a session with somebody who types this.
    fn answered(&self, typed: &str) -> String {
        let (mut keyboard, theirs) = sides();
        keyboard.write_all(typed.as_bytes()).unwrap();
        self.run(&["default", "dev"], theirs)
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.dir().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    /// What is left of its work.
    fn left(&self) -> usize {
        fs::read_dir(self.dir().join("tmp")).unwrap().count()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.asked().last().unwrap(), "vm delete customize-1-x");
        assert_eq!(self.left(), 0);
    }
}

#[test]
fn a_name_that_is_none_is_refused_before_anything_is_made() {
    let place = Place::new("");
    for name in ["", "Dev", "a b", "-dev", "dev-", "../dev"] {
        let said = place.run(&["default", name], Stdio::null());
        assert!(said.starts_with("exit: 2\n"), "{said}");
        assert!(said.contains(&format!("'{name}' is no name: ")), "{said}");
    }
    assert_eq!(place.asked(), [""; 0]);
    let place = Place::new("*'image list') echo '\"name\": \"dev\",' ;;");
    let said = place.run(&["default", "dev", "true"], Stdio::null());
    assert!(said.ends_with("[SCRIPT]: an image called 'dev' exists already\n"), "{said}");
    assert_eq!(place.asked(), ["--json image list"]);
}

#[test]
fn an_image_is_imported_before_its_vm_goes() {
    let place = Place::new("*tar*-c*) echo tar ;; 'image import '*) cat \"$3\" ;;");
    for typed in ["\nwhat\nYes\n", "y\n"] {
        let said = place.answered(typed);
        assert!(said.starts_with("exit: 0\n--- stdout\ntar\n--- stderr\n"), "{said}");
        place.assert_clean();
    }
    let asked = place.asked();
    let import = asked.iter().position(|it| it.starts_with("image import ")).unwrap();
    let delete = asked.iter().position(|it| it.starts_with("vm delete ")).unwrap();
    assert!(import < delete, "{asked:?}");
}

#[test]
fn work_that_cannot_be_saved_is_kept_and_named() {
    let said = ["'image import '", "'vm ssh '*'set --'"].map(|fails| {
        let place = Place::new(&format!("{fails}*) echo refused >&2; exit 1 ;;"));
        let said = place.answered("y\n");
        assert_eq!(place.left(), 1);
        let asked = place.asked();
        assert!(!asked.iter().any(|it| it.starts_with("vm delete ")), "{asked:?}");
        said
    });
    assert_eq!(said[0], said[1]);
    assert_snapshot!(said[0], @r"
    exit: 1
    --- stdout
    --- stderr
    save it as the image 'dev'? [y/n] refused
    [SCRIPT]: 'dev' is not saved, but the work is still there: in the VM 'customize-1-x',
    and what was written down of it in [DIR]/tmp/customize.X
    ");
}

#[test]
fn what_is_not_wanted_goes_and_that_is_said() {
    for typed in ["n\n", "what\nNo\n", "\u{4}"] {
        let place = Place::new("");
        let said = place.answered(typed);
        assert!(said.starts_with("exit: 0\n"), "{said}");
        assert!(said.ends_with("'dev' is discarded\n"), "{said}");
        place.assert_clean();
    }
}

#[test]
fn work_that_fails_and_a_guest_without_gnu_tar_leave_nothing() {
    let place = Place::new("*'-- work') exit 3 ;;");
    let said = place.run(&["default", "dev", "work"], Stdio::null());
    assert!(said.starts_with("exit: 3\n"), "{said}");
    place.assert_clean();

    let place = Place::new("*'tar --version'*) exit 1 ;;");
    let said = place.run(&["default", "dev", "work"], Stdio::null());
    assert!(said.contains("[SCRIPT]: GNU tar, "), "{said}");
    assert!(!place.asked().iter().any(|it| it.ends_with("-- work")), "{said}");
    place.assert_clean();

    // What was not made is not removed.
    let place = Place::new("'vm create '* | 'vm show '*) echo refused >&2; exit 1 ;;");
    let said = place.run(&["default", "dev", "work"], Stdio::null());
    assert!(said.ends_with("--- stderr\nrefused\n"), "{said}");
    assert!(said.starts_with("exit: 1\n") && place.left() == 0, "{said}");
}

#[test]
fn a_guest_that_was_shut_down_is_started_once_more() {
    let place = Place::new("'vm ssh customize-'*-x) exit 255 ;;");
    let said = place.answered("y\n");
    assert!(said.starts_with("exit: 0\n"), "{said}");
    let asked = place.asked();
    let session = asked.iter().position(|it| it == "vm ssh customize-1-x").unwrap();
    assert_eq!(
        asked[session + 1..session + 3],
        ["vm stop --timeout 300 customize-1-x", "vm start --timeout 300 customize-1-x"]
    );
}
