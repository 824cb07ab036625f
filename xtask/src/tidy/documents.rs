//! Rules about documents that follow the source.

use super::Finding;
use super::source::Source;
use crate::cmd::Cmd;
use crate::programs;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ERRORS: &str = "docs/errors.md";
const ERROR_CODES: &str = "crates/core/src/error.rs";
const OPENAPI: &str = "docs/openapi.json";

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

pub(super) fn error_codes(source: &Source) -> Vec<Finding> {
    let (Some(code), Some(document)) = (source.file(ERROR_CODES), source.file(ERRORS)) else {
        return vec![Finding::new(ERRORS, format!("is missing, or {ERROR_CODES} is"))];
    };
    // The arms of `as_str`: `Self::NoSpace => "no_space",`.
    let in_source: BTreeSet<&str> = code
        .code()
        .filter_map(|line| line.code.trim().strip_prefix("Self::")?.split_once(" => \""))
        .filter_map(|(_, text)| text.strip_suffix("\","))
        .collect();
    let documented: BTreeSet<&str> = document
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
        .collect();
    let missing = in_source
        .difference(&documented)
        .map(|code| Finding::new(ERRORS, format!("has no section for `{code}`")));
    let unknown = documented
        .difference(&in_source)
        .map(|code| Finding::new(ERRORS, format!("has a section for `{code}`, which is no code")));
    let none = in_source.is_empty().then(|| Finding::new(ERROR_CODES, "no code was found in it"));
    missing.chain(unknown).chain(none).collect()
}

/// A finding if the OpenAPI document is not what the daemon says.
pub(super) fn stale_openapi(workspace: &Workspace) -> Result<Vec<Finding>> {
    let current = openapi(workspace)?;
    let stored = fs::read_to_string(workspace.root().join(OPENAPI)).unwrap_or_default();
    Ok(if stored == current {
        Vec::new()
    } else {
        vec![Finding::new(OPENAPI, "is not what `bangerd openapi` says")]
    })
}

/// Writes the OpenAPI document.
pub(super) fn update_openapi(workspace: &Workspace) -> Result<()> {
    let path = workspace.root().join(OPENAPI);
    fs::write(&path, openapi(workspace)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn openapi(workspace: &Workspace) -> Result<String> {
    programs::build_for_host(workspace, Profile::Debug)?;
    Cmd::new(workspace.program(Profile::Debug, "bangerd")).arg("openapi").read()
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
    fn codes_and_sections_are_the_same() {
        let code = "match self {\n    Self::Vmm => \"vmm\",\n    Self::Host => \"host\",\n}\n";
        let source =
            |document: &'static str| Source::of(&[(ERROR_CODES, code), (ERRORS, document)]);
        assert!(error_codes(&source("# Errors\n## `vmm`\ntext\n## `host`\n")).is_empty());
        assert_eq!(
            said(error_codes(&source("## `vmm`\n## `hots`\n"))),
            ["has no section for `host`", "has a section for `hots`, which is no code"]
        );
    }

    #[test]
    fn a_document_that_is_gone_is_a_finding() {
        assert_eq!(said(architecture(&Source::of(&[]))), ["is missing"]);
        assert_eq!(error_codes(&Source::of(&[])).len(), 1);
    }
}
