//! What nextest says of each test while it runs, so that a run that is cut off can be gone on with.
//!
//! A line of its `libtest-json-plus` format, as far as it is of interest here:
//!
//! ```text
//! {"type":"test","event":"ok","name":"banger-e2e::it$daemon::vms_outlive_it","exec_time":2.04}
//! ```

use super::report::Counts;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The verdicts on the tests of one profile.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    tests: BTreeMap<String, Verdict>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Verdict {
    has_passed: bool,
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    event: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    exec_time: f64,
}

impl Verdicts {
    /// Adds those of a run. A last line that was cut off is none.
    pub(super) fn add(&mut self, output: &str) {
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        for line in lines.filter(|line| line.kind == "test") {
            let has_passed = match line.event.as_str() {
                "ok" => true,
                "failed" => false,
                _ => continue,
            };
            self.tests.insert(line.name, Verdict { has_passed, seconds: line.exec_time });
        }
    }

    /// Adds those on other tests.
    pub(super) fn merge(&mut self, other: Self) {
        self.tests.extend(other.tests);
    }

    /// A filter for the tests on which there is none.
    pub(super) fn rest(&self) -> Option<String> {
        let one = |name: &String| {
            let (binary, test) = name.split_once('$')?;
            let (package, _) = binary.split_once("::")?;
            Some(format!("(package(={package}) & test(={test}))"))
        };
        let known: Vec<String> = self.tests.keys().filter_map(one).collect();
        (!known.is_empty()).then(|| format!("not ({})", known.join(" | ")))
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |wanted: bool| {
            let tests = self.tests.values().filter(|verdict| verdict.has_passed == wanted).count();
            u32::try_from(tests).unwrap_or(u32::MAX)
        };
        Counts { passed: count(true), failed: count(false) }
    }

    /// The same as a JUnit report, as nextest writes one of a whole run.
    pub(super) fn junit(&self, profile: &str) -> String {
        let Counts { passed, failed } = self.counts();
        let all = passed + failed;
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites name=\"{profile}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\">\n\
             <testsuite name=\"{profile}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\">\n"
        );
        for (name, verdict) in &self.tests {
            let end = if verdict.has_passed { "/>" } else { "><failure/></testcase>" };
            writeln!(text, "<testcase name=\"{name}\" time=\"{:.3}\"{end}", verdict.seconds)
                .expect("writing to a string does not fail");
        }
        text + "</testsuite>\n</testsuites>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"{"type":"suite","event":"started","test_count":3}
{"type":"test","event":"started","name":"e2e::it$a::one"}
{"type":"test","event":"ok","name":"e2e::it$a::one","exec_time":2.5}
{"type":"test","event":"failed","name":"e2e::it$a::two","exec_time":1}
{"type":"test","event":"started","name":"e2e::it$a::three"}
{"type":"test","event":"ok","name":"e2e::it$a::thr"#;

    #[test]
    fn a_run_that_was_cut_off_is_gone_on_with() {
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.rest(), None);
        verdicts.add(OUTPUT);
        let rest = "not ((package(=e2e) & test(=a::one)) | (package(=e2e) & test(=a::two)))";
        assert_eq!(verdicts.rest().as_deref(), Some(rest));
        verdicts.add(r#"{"type":"test","event":"ok","name":"e2e::it$a::three","exec_time":1}"#);
        assert_eq!(verdicts.counts(), Counts { passed: 2, failed: 1 });
    }

    #[test]
    fn the_report_is_one_that_the_suite_understands() {
        let mut verdicts = Verdicts::default();
        verdicts.add(OUTPUT);
        let junit = verdicts.junit("testbed");
        assert_eq!(super::super::nextest::counts(&junit), Some(verdicts.counts()));
        assert!(junit.contains("<testcase name=\"e2e::it$a::one\" time=\"2.500\"/>\n"), "{junit}");
        assert!(junit.contains("two\" time=\"1.000\"><failure/></testcase>\n"), "{junit}");
    }
}
