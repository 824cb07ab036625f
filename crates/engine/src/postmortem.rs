//! Keeping the raw output of a VM that is about to be removed.

use crate::error::EngineError;
use crate::view::VmView;
use banger_core::names::Layout;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Copies the log that the error names out of the VM's directory, which is about to go, and points
/// the error at the copy. An error that names no such log stays as it is.
pub(crate) fn keep_log(layout: &Layout, view: &VmView, error: &mut EngineError) {
    let Some(log) = error.log_path().filter(|log| log.starts_with(&view.paths.dir)) else {
        return;
    };
    match copy(layout, view, log) {
        Ok(saved) => error.relocate_log(saved),
        Err(error) => tracing::warn!(%error, log = %log.display(), "the log could not be saved"),
    }
}

fn copy(layout: &Layout, view: &VmView, log: &Path) -> io::Result<PathBuf> {
    let dir = layout.state_dir().join("failed");
    let kind = log.file_name().unwrap_or_default().to_string_lossy();
    let saved = dir.join(format!("{}-{}-{kind}", view.vm.name, view.vm.id));
    fs::create_dir_all(&dir)?;
    fs::copy(log, &saved)?;
    Ok(saved)
}
