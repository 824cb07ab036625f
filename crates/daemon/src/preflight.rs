//! What stands against a start, told at once and before anything is changed.
//!
//! The checks are those of `banger doctor`, over facts that cost a few looks at files; no program
//! is run.

use crate::doctor::{Facts, examine};
use banger_api::{Check, ErrorBody, Scope, Verdict};
use banger_core::error::ErrorCode;

/// The scopes of a start.
const SCOPES: [Scope; 4] = [Scope::Vm, Scope::Nat, Scope::Bundle, Scope::Disk];

/// Everything that stands against a start; `name` is the VM, where it has one yet.
///
/// # Errors
///
/// A problem that stands alone is told as it is. Several are the causes of one error, which has the
/// code of the first and the remedies of all.
pub fn check(facts: &Facts, name: Option<&str>) -> Result<(), Box<ErrorBody>> {
    let checks = SCOPES.into_iter().flat_map(|scope| examine(facts, scope));
    let failed: Vec<Check> = checks.filter(|check| check.verdict == Verdict::Fail).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let code = first.code.unwrap_or(ErrorCode::Host);
    let hints = failed.iter().flat_map(|check| check.hints.iter().cloned()).collect();
    let mut said = failed.iter().flat_map(|check| check.found.iter().cloned());
    let message = if failed.len() == 1 {
        said.next().unwrap_or_default()
    } else {
        let what = name.map_or_else(|| "a VM".to_owned(), |name| format!("`{name}`"));
        format!("{what} cannot start on this host for {} reasons", failed.len())
    };
    let causes = said.collect();
    Err(Box::new(ErrorBody { causes, hints, ..ErrorBody::plain(code, message) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::{bare, complete};

    #[test]
    fn a_complete_host_lets_a_vm_start() {
        assert_eq!(check(&complete(), None), Ok(()));
    }

    #[test]
    fn one_problem_is_the_error_itself() {
        let facts = Facts { has_program: false, ..complete() };
        let error = check(&facts, Some("otter")).unwrap_err();
        assert_eq!(error.code, ErrorCode::MissingDependency);
        insta::assert_snapshot!(error.message, @"Firecracker is not installed: there is no `/usr/local/bin/firecracker`");
        assert!(error.causes.is_empty());
        assert_eq!(error.hints.len(), 1);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let error = check(&bare(), Some("otter")).unwrap_err();
        insta::assert_snapshot!(error.message, @"`otter` cannot start on this host for 5 reasons");
        assert_eq!(error.causes.len(), 5, "{:?}", error.causes);
        assert_eq!(error.hints.len(), 5, "{:?}", error.hints);
        assert!(check(&bare(), None).unwrap_err().message.starts_with("a VM cannot"));
    }
}
