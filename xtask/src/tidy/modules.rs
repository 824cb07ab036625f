//! Rules about single files.

use super::Finding;
use super::source::Source;

/// Lines that a file may have.
const MOST_LINES: usize = 600;

pub(super) fn without_docs(source: &Source) -> Vec<Finding> {
    source
        .rust()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| Finding::new(&file.path, "does not begin with `//!`"))
        .collect()
}

pub(super) fn too_long(source: &Source) -> Vec<Finding> {
    source
        .rust()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| {
            Finding::new(&file.path, format!("has {lines} lines, more than {MOST_LINES}"))
        })
        .collect()
}

/// `crates/<crate>/tests/<file>.rs`, and `tests/<package>/tests/<file>.rs`.
pub(super) fn second_test_program(source: &Source) -> Vec<Finding> {
    source
        .rust()
        .filter(|file| {
            let parts: Vec<_> = file.path.split('/').collect();
            matches!(parts.as_slice(), [_, _, "tests", _])
        })
        .map(|file| Finding::new(&file.path, "is a test program of its own"))
        .collect()
}

pub(super) fn ignored_tests(source: &Source) -> Vec<Finding> {
    let mark = concat!("#[", "ignore");
    source
        .rust()
        .flat_map(|file| {
            file.all_code()
                .filter(|line| line.code.contains(mark))
                .map(|line| Finding::new(format!("{}:{}", file.path, line.number), "is ignored"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_module_without_docs_is_found() {
        let source = Source::of(&[("a.rs", "//! A.\n"), ("b.rs", "use c;\n"), ("c.rs", "")]);
        assert_eq!(places(without_docs(&source)), ["b.rs", "c.rs"]);
    }

    #[test]
    fn six_hundred_lines_are_enough() {
        let (fits, long) = ("x\n".repeat(600), "x\n".repeat(601));
        let source = Source::of(&[("a.rs", &fits), ("b.rs", &long), ("c.md", &long)]);
        assert_eq!(places(too_long(&source)), ["b.rs"]);
    }

    #[test]
    fn only_one_test_program_is_linked_for_a_crate() {
        let source = Source::of(&[
            ("crates/a/tests/it/main.rs", ""),
            ("crates/a/tests/more.rs", ""),
            ("crates/a/src/tests.rs", ""),
            ("tests/e2e/src/lib.rs", ""),
        ]);
        assert_eq!(places(second_test_program(&source)), ["crates/a/tests/more.rs"]);
    }

    #[test]
    fn an_ignored_test_is_found_with_its_line() {
        let text = format!("#[test]\n{}]\nfn a() {{}}\n", concat!("#[", "ignore"));
        let source = Source::of(&[("a.rs", &text), ("b.rs", "// ignored\n")]);
        assert_eq!(places(ignored_tests(&source)), ["a.rs:2"]);
    }
}
