//! Rules about starting programs.

use super::Finding;
use super::source::Source;

/// The files that start programs, with what they start.
const DOORS: [(&str, &str); 4] = [
    ("crates/cli/src/launch.rs", "ssh, and the daemon"),
    ("crates/guest/src/handover.rs", "the image's init, which takes the place of banger-init"),
    ("crates/host/src/cmd.rs", "everything that the daemon needs"),
    ("xtask/src/cmd.rs", "what the tasks need; it knows no crate of banger"),
];

/// Test programs may have one door each, in a file of this name.
const TEST_DOOR: &str = "/program.rs";

pub(super) fn unknown(source: &Source) -> Vec<Finding> {
    let needle = concat!("Command", "::new(");
    let opens = |text: &str| text.contains(needle);
    let strangers = source.rust().flat_map(|file| {
        let known = DOORS.iter().any(|(path, _)| *path == file.path)
            || (file.path.contains("tests/") && file.path.ends_with(TEST_DOOR));
        file.all_code()
            .filter(move |line| !known && opens(line.code))
            .map(|line| Finding::new(format!("{}:{}", file.path, line.number), "starts a program"))
    });
    let closed = DOORS.iter().filter_map(|(path, what)| {
        let found = source.file(path).is_some_and(|file| file.code().any(|line| opens(line.code)));
        (!found).then(|| Finding::new(*path, format!("is known to start {what}, but does not")))
    });
    strangers.chain(closed).collect()
}

pub(super) fn shells(source: &Source) -> Vec<Finding> {
    let names = ["sh", "bash", "dash", "/bin/sh", "/bin/bash"];
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let spelt = concat!("sh", " -c");
    source
        .rust()
        .filter(|file| file.path != "xtask/src/tidy/doors.rs")
        .flat_map(|file| {
            // A test may speak of shells, as that of the completion scripts does.
            let in_test = file.path.contains("tests/");
            let quoted = &quoted;
            file.all_code()
                .filter(move |line| {
                    let named = quoted.iter().any(|name| line.code.contains(name.as_str()));
                    (named && !in_test) || line.code.contains(spelt)
                })
                .map(|line| Finding::new(format!("{}:{}", file.path, line.number), "names a shell"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = concat!("let c = Command", "::new(p);\n");

    fn with_all_doors(more: &[(&str, &str)]) -> Source {
        let doors = DOORS.iter().map(|(path, _)| (*path, OPEN));
        Source::of(&doors.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    #[test]
    fn the_known_doors_are_allowed_and_no_other() {
        assert!(unknown(&with_all_doors(&[])).is_empty());
        let comment = concat!("// not Command", "::new(\n");
        let found = unknown(&with_all_doors(&[
            ("crates/engine/src/a.rs", OPEN),
            ("crates/engine/src/b.rs", comment),
            ("crates/cli/tests/it/program.rs", OPEN),
            ("crates/cli/tests/it/other.rs", OPEN),
        ]));
        let places: Vec<_> = found.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["crates/engine/src/a.rs:1", "crates/cli/tests/it/other.rs:1"]);
    }

    #[test]
    fn a_door_that_is_gone_leaves_the_list() {
        let doors: Vec<_> = DOORS.iter().skip(1).map(|(path, _)| (*path, OPEN)).collect();
        assert_eq!(unknown(&Source::of(&doors))[0].place, DOORS[0].0);
    }

    #[test]
    fn a_shell_is_found_and_ssh_is_not() {
        let source = Source::of(&[
            ("a.rs", concat!("cmd(\"s", "h\").arg(\"-c\")\n")),
            ("b.rs", "cmd(\"ssh\").arg(\"-c\")\n"),
            ("c.rs", concat!("\"s", "h -c true\"\n")),
        ]);
        let found = shells(&source);
        let places: Vec<_> = found.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["a.rs:1", "c.rs:1"]);
    }
}
