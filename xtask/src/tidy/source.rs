//! The text of the repository.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// A text file.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Its path from the root, with `/`.
    pub(super) path: String,
    /// Its content.
    pub(super) text: String,
}

/// All Rust sources, manifests and documents.
#[derive(Debug, Clone)]
pub(super) struct Source {
    files: Vec<File>,
}

/// A line of code, without comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    /// The code.
    pub(super) code: &'a str,
}

impl Source {
    /// Reads the repository.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// A repository for a test.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Self { files: files.iter().map(file).collect() }
    }

    /// All files.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The manifests of the workspace's members.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"))
    }

    /// A file by its path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    /// Whether it belongs to the tests alone.
    pub(super) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The lines of code outside of the unit tests, which are the last thing in a file.
    pub(super) fn code(&self) -> impl Iterator<Item = Line<'_>> {
        let product = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        lines(product)
    }

    /// The lines of code with the unit tests.
    pub(super) fn all_code(&self) -> impl Iterator<Item = Line<'_>> {
        lines(&self.text)
    }
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines()
        .enumerate()
        .map(|(index, line)| Line { number: index + 1, code: without_comment(line) })
        .filter(|line| !line.code.trim().is_empty())
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    // A bare `//` may be in a string, as in a URL.
    line.split(" // ").next().unwrap_or(line)
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<File>) -> Result<()> {
    let doing = || format!("cannot list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().with_context(doing)?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(root, &path, files)?;
            }
        } else if [".rs", ".toml", ".md"].iter().any(|end| name.ends_with(end)) {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_unit_tests_are_no_code_of_the_product() {
        let text = "//! Docs.\nuse a; // why\n  // note\nlet u = \"http://x\";\n\
                    #[cfg(test)]\nmod tests {\n    b();\n}\n";
        let source = Source::of(&[("crates/a/src/lib.rs", text)]);
        let code: Vec<_> = source.files[0].code().collect();
        assert_eq!(
            code,
            [Line { number: 2, code: "use a;" }, Line { number: 4, code: "let u = \"http://x\";" }]
        );
        assert!(source.files[0].all_code().any(|line| line.code.contains("b()")));
    }
}
