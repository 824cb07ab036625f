//! The files that VMs boot from.

use super::Facts;
use crate::config::Key;
use banger_api::{Check, ErrorBody, Scope, Verdict};
use banger_core::error::ErrorCode;
use banger_image::bundle::Part;

const SCOPE: Scope = Scope::Bundle;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    bundle(facts).into_iter().chain(foreign_modules(facts)).chain(lost(facts)).collect()
}

fn bundle(facts: &Facts) -> Option<Check> {
    let bundle = facts.bundle.as_ref()?;
    let origin = facts.origin(Key::BundleDir);
    Some(match &bundle.image {
        Ok(_) => {
            let mut check = Check::pass(SCOPE, "bundle", bundle.dir.display().to_string());
            check.found.extend(bundle.parts.iter().map(told));
            check.from(origin)
        }
        Err(problem) => broken(SCOPE, "bundle", problem).from(origin),
    })
}

/// A part, and by whose word it is that one.
fn told(part: &Part) -> String {
    let by = part.named_by.to_string().replace('`', "");
    format!("{} {}, by {by}", part.role, part.path.display())
}

/// The initrd has the modules of the bundle's kernel, and another kernel loads none of them.
fn foreign_modules(facts: &Facts) -> Option<Check> {
    let alone = facts.is_set(Key::DefaultKernel) && !facts.is_set(Key::DefaultInitrd);
    let usable = facts.bundle.as_ref().is_some_and(|bundle| bundle.image.is_ok());
    (alone && usable).then(|| {
        Check::warn(
            SCOPE,
            "modules",
            "the kernel is another than the bundle's, and the initrd is the bundle's",
            "unless both are of one version, name an initrd with that kernel's modules in \
             `default_initrd`",
        )
        .from(facts.origin(Key::DefaultKernel))
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
