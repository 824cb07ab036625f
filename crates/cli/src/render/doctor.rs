//! What the doctor found, for people.

use super::table::table;
use banger_api::{Check, Verdict};

/// A line for each thing that was found, then the remedies.
pub(crate) fn text(checks: &[Check]) -> String {
    let mut rows = Vec::new();
    let mut before = None;
    for check in checks {
        let scope = if before == Some(check.scope) { "" } else { check.scope.as_str() };
        before = Some(check.scope);
        for (number, line) in lines(check).into_iter().enumerate() {
            let head = [scope, &check.name, verdict(check.verdict)];
            let [scope, name, verdict] = if number == 0 { head } else { [""; 3] };
            rows.push([scope.to_owned(), name.to_owned(), verdict.to_owned(), line]);
        }
    }
    table(["SCOPE", "CHECK", "", "FOUND"], &rows)
}

fn lines(check: &Check) -> Vec<String> {
    let found = check.found.iter().cloned();
    let source = check.source.iter().map(|source| format!("by {source}"));
    let hints = check.hints.iter().map(|hint| format!("hint: {hint}"));
    found.chain(source).chain(hints).collect()
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}
