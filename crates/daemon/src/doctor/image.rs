//! The images beside the bundle's: whether their files are there, and the ones that they were.

use super::bundle::broken;
use super::{Facts, ImageFacts};
use banger_api::{Check, Scope};

const SCOPE: Scope = Scope::Image;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    facts.images.iter().map(check).collect()
}

fn check(image: &ImageFacts) -> Check {
    let ImageFacts { name, rootfs, problem, was, is } = image;
    if let Some(problem) = problem {
        return broken(SCOPE, name, problem);
    }
    let rootfs = rootfs.display();
    match (was, is) {
        (Some(was), Some(is)) if was != is => Check::warn(
            SCOPE,
            name,
            format!("`{rootfs}` had {} bytes when it became an image, and has {} now", was.0, is.0),
            "put the file back: the disks of VMs that are layered over it are worth nothing over \
             another; for new VMs register the new one under another name",
        ),
        _ => Check::pass(SCOPE, name, rootfs.to_string()),
    }
}
