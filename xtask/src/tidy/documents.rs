//! Rules about documents that follow the source.

use super::Finding;
use super::source::Source;
use crate::cmd::Cmd;
use crate::programs;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result};
use std::fs;

const ARCHITECTURE: &str = "ARCHITECTURE.md";

pub(super) fn architecture(source: &Source) -> Vec<Finding> {
    let Some(document) = source.file(ARCHITECTURE) else {
        return vec![Finding::new(ARCHITECTURE, "is missing")];
    };
    source
        .manifests()
        .filter_map(|file| file.path.strip_suffix("/Cargo.toml"))
        .filter(|dir| !names(&document.text, dir))
        .map(|dir| Finding::new(ARCHITECTURE, format!("does not name `{dir}`")))
        .collect()
}

/// Whether the text has the path as a whole, so that `crates/vmm` is not found in `crates/vmm-x`.
fn names(text: &str, path: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices(path).any(|(at, _)| !text[at + path.len()..].starts_with(goes_on))
}

/// Documents that the daemon prints: where they are, and with which of its words.
const GENERATED: [(&str, &str); 2] =
    [("docs/openapi.json", "openapi"), ("docs/errors.md", "errors")];

/// A finding for each document that is not what the daemon says.
pub(super) fn stale(workspace: &Workspace) -> Result<Vec<Finding>> {
    programs::build_for_host(workspace, Profile::Debug)?;
    let mut findings = Vec::new();
    for (path, word) in GENERATED {
        let stored = fs::read_to_string(workspace.root().join(path)).unwrap_or_default();
        if stored != printed(workspace, word)? {
            findings.push(Finding::new(path, format!("is not what `bangerd {word}` says")));
        }
    }
    Ok(findings)
}

/// Writes the documents that the daemon prints.
pub(super) fn update(workspace: &Workspace) -> Result<()> {
    programs::build_for_host(workspace, Profile::Debug)?;
    for (path, word) in GENERATED {
        let path = workspace.root().join(path);
        fs::write(&path, printed(workspace, word)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn printed(workspace: &Workspace, word: &str) -> Result<String> {
    Cmd::new(workspace.program(Profile::Debug, "bangerd")).arg(word).read()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_crate_that_the_architecture_does_not_name_is_found() {
        let source = Source::of(&[
            ("ARCHITECTURE.md", "- `crates/core`: pure\n- `crates/vmm-x`: another\n- xtask: tasks"),
            ("crates/core/Cargo.toml", ""),
            ("crates/vmm/Cargo.toml", ""),
            ("xtask/Cargo.toml", ""),
        ]);
        assert_eq!(said(architecture(&source)), ["does not name `crates/vmm`"]);
    }

    #[test]
    fn a_document_that_is_gone_is_a_finding() {
        assert_eq!(said(architecture(&Source::of(&[]))), ["is missing"]);
    }
}
