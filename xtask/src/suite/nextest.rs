//! cargo-nextest: getting it, building the tests once, running a level, reading what happened.

use super::Level;
use super::report::Counts;
use super::tools;
use crate::cmd::Cmd;
use crate::programs::cargo;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// nextest, with all tests built.
#[derive(Debug)]
pub(super) struct Nextest {
    program: PathBuf,
    dir: PathBuf,
}

impl Nextest {
    /// Finds nextest, or installs it, and builds all tests.
    pub(super) fn prepare(workspace: &Workspace) -> Result<Self> {
        let dir = workspace.scratch("test");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let nextest = Self { program: tools::NEXTEST.find_or_install(workspace)?, dir };
        nextest.note_program(&nextest.program)?;
        let list = ["nextest", "list", "--workspace", "--list-type", "binaries-only"];
        let binaries = cargo_nextest(&nextest.program, workspace)
            .args(list)
            .args(["--message-format", "json"])
            .read()?;
        write(&nextest.binaries(), &binaries)?;
        let metadata =
            cargo(workspace).args(["metadata", "--format-version", "1"]).silent().read()?;
        write(&nextest.metadata(), &metadata)?;
        Ok(nextest)
    }

    /// What another xtask process has prepared.
    pub(super) fn prepared(workspace: &Workspace) -> Result<Self> {
        let dir = workspace.scratch("test");
        let file = dir.join("program");
        let program =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { program: program.into(), dir })
    }

    /// Runs a level. Everything was built before, so this needs no cargo and can run as root.
    pub(super) fn run(&self, workspace: &Workspace, level: Level, extra: &[String]) -> Result<()> {
        let run = self.reusing(workspace, "run");
        // In the testbed its surroundings say which profile it is.
        let run = if level == Level::Testbed {
            run
        } else {
            run.args(["--profile", level.profiles()[0]])
        };
        let cmd = run.args(["--no-input-handler", "--no-tests", "pass"]).args(extra);
        let programs = ("BANGER_TEST_PROGRAMS", self.programs());
        match level {
            // The other levels shall not depend on what is built here.
            Level::Checks | Level::Unit | Level::Fuzz | Level::Host => cmd.run(),
            Level::E2e => {
                cmd.surroundings(&[programs, ("BANGER_BUNDLE_DIR", workspace.bundle())]).run()
            }
            // Whoever started the host learns of each test as soon as it has ended.
            Level::Testbed => cmd
                .args(["--message-format", "libtest-json-plus"])
                .surroundings(&[programs, ("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1".into())])
                .run(),
        }
    }

    /// Checks that every test belongs to exactly one level, and that none is ignored.
    pub(super) fn check_borders(&self, workspace: &Workspace) -> Result<()> {
        let mut levels: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        let mut ignored = Vec::new();
        for level in &[Level::Unit, Level::Host, Level::E2e, Level::Testbed] {
            let text = self
                .reusing(workspace, "list")
                .args(["--profile", level.profiles()[0], "--message-format", "json"])
                .silent()
                .read()?;
            let list: List = serde_json::from_str(&text).context("cannot understand the list")?;
            for (binary, name, test) in list.tests() {
                let found = levels.entry(format!("{binary} {name}")).or_default();
                // The testbed repeats others' tests beside its own.
                let counts = *level != Level::Testbed || is_of_testbed(name);
                found.extend((counts && test.is_matched()).then_some(level.name()));
                if test.ignored && *level == Level::Unit {
                    ignored.push(format!("{binary} {name}"));
                }
            }
        }
        let wrong = wrong_borders(&levels, &ignored);
        if !wrong.is_empty() {
            bail!(
                "not every test runs at exactly one level; mend the filters in \
                 .config/nextest.toml, or the tests' modules:\n  {}",
                wrong.join("\n  ")
            );
        }
        eprintln!("each of the {} tests belongs to exactly one level", levels.len());
        Ok(())
    }

    /// Removes the results of an earlier run.
    pub(super) fn forget_results(&self, workspace: &Workspace, profile: &str) -> Result<()> {
        let path = workspace.root().join(results(profile));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// How many tests of a profile passed and failed; none if nextest has written no results.
    pub(super) fn counts(&self, workspace: &Workspace, profile: &str) -> Option<Counts> {
        let text = fs::read_to_string(workspace.root().join(results(profile))).ok()?;
        counts(&text)
    }

    fn reusing(&self, workspace: &Workspace, verb: &str) -> Cmd {
        cargo_nextest(&self.program, workspace)
            .args(["nextest", verb, "--binaries-metadata"])
            .arg(self.binaries())
            .arg("--cargo-metadata")
            .arg(self.metadata())
            // On a machine with a copy these are not where they were built.
            .arg("--workspace-remap")
            .arg(workspace.root())
            .arg("--target-dir-remap")
            .arg(workspace.target())
    }

    /// Where the programs are that the e2e tests use.
    pub(super) fn programs(&self) -> PathBuf {
        self.dir.join("programs")
    }

    /// nextest itself.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The same for a copy of the workspace, whose programs and lists others bring there.
    pub(super) fn of_copy(&self, copy: &Workspace) -> Self {
        Self { program: self.program.clone(), dir: copy.scratch("test") }
    }

    /// Says under which path nextest will be found.
    pub(super) fn note_program(&self, path: &Path) -> Result<()> {
        write(&self.dir.join("program"), &path.to_string_lossy())
    }

    /// The list of the binaries with tests.
    pub(super) fn binaries(&self) -> PathBuf {
        self.dir.join("binaries.json")
    }

    /// What cargo knows of the workspace.
    pub(super) fn metadata(&self) -> PathBuf {
        self.dir.join("cargo-metadata.json")
    }
}

fn cargo_nextest(program: &Path, workspace: &Workspace) -> Cmd {
    Cmd::new(program).dir(workspace.root())
}

/// Where nextest writes what became of a profile's tests, below the workspace's root.
pub(super) fn results(profile: &str) -> PathBuf {
    Path::new("target/nextest").join(profile).join("junit.xml")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How many tests passed and failed, from the attributes of a JUnit report's first element.
pub(super) fn counts(junit: &str) -> Option<Counts> {
    let (_, rest) = junit.split_once("<testsuites ")?;
    let (element, _) = rest.split_once('>')?;
    let attribute = |name: &str| -> Option<u32> {
        let (_, value) = element.split_once(&format!("{name}=\""))?;
        value.split_once('"')?.0.parse().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    Some(Counts { passed: attribute("tests")?.saturating_sub(failed), failed })
}

/// The part of nextest's list that is of interest here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct List {
    rust_suites: BTreeMap<String, Suite>,
}

#[derive(Debug, Deserialize)]
struct Suite {
    #[serde(default)]
    testcases: BTreeMap<String, Test>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Test {
    ignored: bool,
    filter_match: Match,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
enum Match {
    Matches,
    #[serde(other)]
    Mismatch,
}

impl List {
    fn tests(&self) -> impl Iterator<Item = (&str, &str, &Test)> {
        self.rust_suites.iter().flat_map(|(binary, suite)| {
            suite.testcases.iter().map(move |(name, test)| (binary.as_str(), name.as_str(), test))
        })
    }
}

impl Test {
    fn is_matched(&self) -> bool {
        // An ignored test counts with the level that it would run at.
        matches!(self.filter_match, Match::Matches) || self.ignored
    }
}

/// Whether a test is in a module `testbed_…`.
fn is_of_testbed(test: &str) -> bool {
    test.starts_with("testbed_") || test.contains("::testbed_")
}

fn wrong_borders(levels: &BTreeMap<String, Vec<&'static str>>, ignored: &[String]) -> Vec<String> {
    let ignored_lines = ignored.iter().map(|test| format!("{test}: ignored, which hides it"));
    let border_lines = levels
        .iter()
        .filter(|(test, found)| found.len() != 1 && !ignored.contains(test))
        .map(|(test, found)| match found.as_slice() {
            [] => format!("{test}: at no level"),
            several => format!("{test}: at {}", several.join(" and ")),
        });
    ignored_lines.chain(border_lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_from_the_first_element() {
        let junit = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x">
    <testsuite name="a" tests="3" disabled="0" errors="0" failures="0">"#;
        assert_eq!(counts(junit), Some(Counts { passed: 9, failed: 3 }));
        assert_eq!(counts(""), None);
    }

    #[test]
    fn a_test_at_no_level_or_at_two_is_named() {
        let levels = BTreeMap::from([
            ("a one".to_owned(), vec!["unit"]),
            ("a two".to_owned(), vec!["host", "e2e"]),
            ("a none".to_owned(), vec![]),
            ("a hidden".to_owned(), vec![]),
        ]);
        assert_eq!(
            wrong_borders(&levels, &["a hidden".to_owned()]),
            ["a hidden: ignored, which hides it", "a none: at no level", "a two: at host and e2e"]
        );
    }

    #[test]
    fn the_list_tells_matched_tests_from_others() {
        let text = r#"{"test-count": 2, "rust-suites": {"core": {"package-name": "core",
            "testcases": {
                "a": {"kind": "test", "ignored": false, "filter-match": {"status": "matches"}},
                "b": {"kind": "test", "ignored": false,
                      "filter-match": {"status": "mismatch", "reason": "default-filter"}}}}}}"#;
        let list: List = serde_json::from_str(text).unwrap();
        let matched: Vec<_> =
            list.tests().map(|(_, name, test)| (name, test.is_matched())).collect();
        assert_eq!(matched, [("a", true), ("b", false)]);
    }
}
