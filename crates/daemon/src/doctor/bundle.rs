//! The files that VMs boot from.

use super::Facts;
use crate::config::Key;
use banger_api::{Check, ErrorBody, Scope, Verdict};
use banger_core::error::ErrorCode;

const SCOPE: Scope = Scope::Bundle;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    bundle(facts).into_iter().chain(lost(facts)).collect()
}

fn bundle(facts: &Facts) -> Option<Check> {
    let bundle = facts.bundle.as_ref()?;
    let origin = facts.origin(Key::BundleDir);
    Some(match &bundle.image {
        Ok(image) => {
            let names = if bundle.has_manifest { "bundle.json" } else { "the legacy file names" };
            let mut check = Check::pass(SCOPE, "bundle", bundle.dir.display().to_string());
            check.found.push(format!("kernel {}", image.kernel.display()));
            check.found.push(format!("root file system {}", image.rootfs.display()));
            check.from(format!("{origin}, {names}"))
        }
        Err(problem) => broken(SCOPE, "bundle", problem).from(origin),
    })
}

/// A problem with all its causes and remedies.
pub(super) fn broken(scope: Scope, name: &str, problem: &ErrorBody) -> Check {
    let mut check = Check::pass(scope, name, problem.message.clone());
    check.verdict = Verdict::Fail;
    check.code = Some(problem.code);
    check.found.extend(problem.causes.iter().cloned());
    check.hints.clone_from(&problem.hints);
    check
}

fn lost(facts: &Facts) -> impl Iterator<Item = Check> {
    facts.lost.iter().map(|(role, path)| {
        Check::fail(
            SCOPE,
            "image",
            ErrorCode::ImageUnusable,
            format!("the {role} `{}` of the VM's image does not exist", path.display()),
            "put the file back, or build the bundle again with `banger bundle build`",
        )
    })
}
