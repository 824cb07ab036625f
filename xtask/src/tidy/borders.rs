//! Rules about what only one crate does.

use super::Finding;
use super::source::{File, Source};

pub(super) fn prints(source: &Source) -> Vec<Finding> {
    // A program's main may say why it cannot go on; a build script talks to cargo.
    let may_print = |file: &File| {
        file.path.starts_with("crates/cli/")
            || file.path.starts_with("xtask/")
            || file.path.ends_with("/src/main.rs")
            || file.path.ends_with("/build.rs")
            || file.is_test()
    };
    let words = ["println!(", "print!(", "io::stdout()", "io::stderr()", "dbg!("];
    find(
        source,
        "prints",
        |file| !may_print(file),
        |code| words.iter().any(|word| code.contains(word)),
    )
}

pub(super) fn sql(source: &Source) -> Vec<Finding> {
    let is_elsewhere = |file: &File| {
        file.path.starts_with("crates/") && !file.path.starts_with("crates/engine/src/store")
    };
    // An error may carry the database's own as its cause.
    let word = concat!("rusq", "lite");
    find(source, "speaks to the database", is_elsewhere, |code| {
        code.replace(&format!("{word}::Error"), "").contains(word)
    })
}

pub(super) fn impure_core(source: &Source) -> Vec<Finding> {
    let words = [
        "std::env",
        "std::fs",
        "std::process",
        "std::thread",
        "std::os",
        "std::time::{",
        "TcpStream",
        "UdpSocket",
        "UnixStream",
        "Instant",
        "SystemTime",
        "getrandom",
        "tokio",
        "async fn",
    ];
    let is_core = |file: &File| file.path.starts_with("crates/core/src/");
    find(source, "is no pure computation", is_core, |code| {
        words.iter().any(|word| code.contains(word))
    })
}

fn find(
    source: &Source,
    what: &str,
    applies: impl Fn(&File) -> bool,
    is_wrong: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in source.rust().filter(|file| applies(file)) {
        for line in file.code().filter(|line| is_wrong(line.code)) {
            findings.push(Finding::new(format!("{}:{}", file.path, line.number), what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn the_client_prints_and_the_engine_does_not() {
        let text = "fn a() {\n    println!(\"x\");\n}\n";
        let in_test = "#[cfg(test)]\nmod tests {\n    println!(\"x\");\n}\n";
        let source = Source::of(&[
            ("crates/cli/src/output.rs", text),
            ("crates/daemon/src/main.rs", text),
            ("crates/engine/src/task.rs", text),
            ("crates/engine/src/stop.rs", in_test),
            ("crates/engine/tests/it/main.rs", text),
        ]);
        assert_eq!(places(prints(&source)), ["crates/engine/src/task.rs:2"]);
    }

    #[test]
    fn the_database_is_the_stores_and_its_error_may_be_a_cause() {
        let text = concat!("use rusq", "lite::Connection;\n");
        let cause = concat!("source: rusq", "lite::Error,\n");
        let source = Source::of(&[
            ("crates/engine/src/store.rs", text),
            ("crates/engine/src/store/migration.rs", text),
            ("crates/engine/src/error.rs", cause),
            ("crates/daemon/src/vms.rs", text),
        ]);
        assert_eq!(places(sql(&source)), ["crates/daemon/src/vms.rs:1"]);
    }

    #[test]
    fn core_reads_no_clock() {
        let source = Source::of(&[
            ("crates/core/src/plan.rs", "use std::path::PathBuf;\n"),
            ("crates/core/src/id.rs", "let now = SystemTime::now();\n"),
            ("crates/host/src/lib.rs", "let now = SystemTime::now();\n"),
        ]);
        assert_eq!(places(impure_core(&source)), ["crates/core/src/id.rs:1"]);
    }
}
