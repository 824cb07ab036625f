//! Files without which the daemon does not start: banger-init.
//!
//! It starts without a VMM, so that it can say what is missing; what a VM needs is looked at before
//! each start, in `preflight`.

use banger_core::error::{ErrorCode, Explain};
use std::path::PathBuf;

/// A file without which the daemon does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// What it is, in words: `QEMU`.
    pub what: &'static str,
    /// Where it was found, or is expected.
    pub path: PathBuf,
    /// How to get it.
    pub hints: Vec<String>,
}

/// A requirement that is not met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not installed: there is no `{}`", .0.what, .0.path.display())]
pub struct Missing(pub Requirement);

impl Explain for Missing {
    fn code(&self) -> ErrorCode {
        ErrorCode::MissingDependency
    }

    fn hints(&self) -> Vec<String> {
        self.0.hints.clone()
    }
}

/// The first of the requirements that is not met now.
pub fn check(requirements: &[Requirement]) -> Result<(), Missing> {
    match requirements.iter().find(|requirement| !requirement.path.is_file()) {
        Some(requirement) => Err(Missing(requirement.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_file_is_named_with_its_remedy() {
        let here = Requirement {
            what: "this test",
            path: std::env::current_exe().unwrap(),
            hints: Vec::new(),
        };
        assert_eq!(check(std::slice::from_ref(&here)), Ok(()));
        let gone = Requirement {
            what: "QEMU",
            path: "/no/such/qemu".into(),
            hints: vec!["install the Debian package `qemu-system-x86`".to_owned()],
        };
        let error = check(&[here, gone]).unwrap_err();
        assert_eq!(error.to_string(), "QEMU is not installed: there is no `/no/such/qemu`");
        assert_eq!(error.code(), ErrorCode::MissingDependency);
        assert_eq!(error.hints().len(), 1);
    }
}
