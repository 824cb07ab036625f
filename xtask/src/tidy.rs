//! `cargo xtask tidy`: the rules of the house that no compiler and no lint knows.
//!
//! A rule is a small function from the source text to what is wrong with it. Each says why it is
//! there and how to mend a breach.

mod borders;
mod documents;
mod doors;
mod manifests;
mod modules;
mod source;

use crate::workspace::Workspace;
use anyhow::{Result, bail};
use source::Source;
use std::fmt;

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    place: String,
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

struct Rule {
    name: &'static str,
    why: &'static str,
    mend: &'static str,
    check: fn(&Source) -> Vec<Finding>,
}

const RULES: [Rule; 13] = [
    Rule {
        name: "module docs",
        why: "a reader learns first what a module owns and what it must not do",
        mend: "begin the file with `//!`",
        check: modules::without_docs,
    },
    Rule {
        name: "file size",
        why: "a longer file owns more than one thing",
        mend: "split it by noun",
        check: modules::too_long,
    },
    Rule {
        name: "one test program",
        why: "each file directly below `tests/` is linked by itself, which costs seconds",
        mend: "make it a module of `tests/it/main.rs`",
        check: modules::second_test_program,
    },
    Rule {
        name: "doors",
        why: "where programs are started, arguments, time limits and failures are looked after",
        mend: "use `banger_host::cmd`; a new door has to be argued for in xtask/src/tidy/doors.rs",
        check: doors::unknown,
    },
    Rule {
        name: "no shell",
        why: "a shell gives arguments a second meaning",
        mend: "start the program itself, with its arguments as a list",
        check: doors::shells,
    },
    Rule {
        name: "prints",
        why: "what a user sees is decided by the client; a daemon has a log",
        mend: "return a value or an error, or use `tracing`",
        check: borders::prints,
    },
    Rule {
        name: "sql",
        why: "the store alone knows the tables",
        mend: "move it into crates/engine/src/store.rs",
        check: borders::sql,
    },
    Rule {
        name: "core is pure",
        why: "a function without IO, clock and randomness can be tested exhaustively",
        mend: "take the value as an argument",
        check: borders::impure_core,
    },
    Rule {
        name: "ignored tests",
        why: "a test that does not run passes in silence",
        mend: "put it into a module `host_…` or `qemu_…`, so that it has a level",
        check: modules::ignored_tests,
    },
    Rule {
        name: "lints",
        why: "a crate without this line has none of the workspace's lints",
        mend: "add `[lints]` with `workspace = true` to its Cargo.toml",
        check: manifests::without_lints,
    },
    Rule {
        name: "versions",
        why: "a dependency has one version and one reason, in one place",
        mend: "name it in the workspace's table, sorted, and write `name.workspace = true`",
        check: manifests::own_versions,
    },
    Rule {
        name: "crate borders",
        why: "a crate is a wall that the compiler enforces, as long as nobody makes a door",
        mend: "use what the crate may know, or change the table in xtask/src/tidy/manifests.rs \
               together with ARCHITECTURE.md",
        check: manifests::forbidden_dependencies,
    },
    Rule {
        name: "architecture",
        why: "who looks for something starts there",
        mend: "say in ARCHITECTURE.md what the crate owns, with its path",
        check: documents::architecture,
    },
];

/// Checks all rules.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let source = Source::read(workspace.root())?;
    let mut breaches = 0;
    for rule in &RULES {
        let findings = (rule.check)(&source);
        breaches += findings.len();
        report(rule.name, rule.why, rule.mend, &findings);
    }
    let stale = documents::stale(workspace)?;
    breaches += stale.len();
    let why = "other programs are written against them, and users look things up in them";
    report("documents", why, "run `cargo xtask tidy --update`", &stale);
    if breaches > 0 {
        bail!("{breaches} breaches of the house rules");
    }
    eprintln!("tidy: {} rules hold in {} files", RULES.len() + 1, source.files().len());
    Ok(())
}

/// Writes the documents that are made from the source.
pub(crate) fn update(workspace: &Workspace) -> Result<()> {
    documents::update(workspace)
}

fn report(name: &str, why: &str, mend: &str, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    eprintln!("tidy: rule `{name}`");
    findings.iter().for_each(|finding| eprintln!("  {finding}"));
    eprintln!("  why: {why}\n  mend: {mend}");
}
