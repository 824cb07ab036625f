//! The modules that a guest needs to boot, of a kernel that somebody names.

use crate::error::ImageError;
use banger_image::initrd::{GUEST_MODULES, render_modules_archive};
use banger_image::modules::ModuleTree;
use std::path::Path;

/// The archive that an initrd begins with, of the tree `lib/modules/<release>`. Blocks.
pub(crate) fn render_boot_modules(tree: &Path) -> Result<Vec<u8>, ImageError> {
    ModuleTree::open(tree)
        .map_err(Into::into)
        .and_then(|tree| render_modules_archive(&tree, &GUEST_MODULES))
        .map_err(|source| ImageError::Modules { path: tree.to_owned(), source })
}
