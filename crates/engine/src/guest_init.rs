//! The archive with banger's init, which is appended to every initrd.
//!
//! It is made from the program beside the daemon at each daemon start, so an upgrade of banger is
//! an upgrade of the guest side at each VM's next start, and no image has to be built again.

use crate::error::EngineError;
use crate::settings::{Images, Settings};
use banger_image::initrd::render_init_archive;
use banger_image::program::check_static;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Writes the archive if it has changed; returns the archives that follow an image's initrd.
pub(crate) fn publish(settings: &Settings) -> Result<Vec<PathBuf>, EngineError> {
    if let Images::Simulated = settings.images {
        return Ok(Vec::new());
    }
    let source = &settings.guest_init;
    let program = fs::read(source)
        .map_err(|error| EngineError::NoGuestInit { path: source.clone(), source: error })?;
    check_static(&program)
        .map_err(|error| EngineError::BadGuestInit { path: source.clone(), source: error })?;
    let archive = render_init_archive(&program).map_err(|error| EngineError::File {
        action: "make an archive of",
        path: source.clone(),
        source: io::Error::other(error),
    })?;
    let path = settings.layout.state_dir().join("guest-init.cpio");
    if fs::read(&path).ok().as_deref() != Some(archive.as_slice()) {
        let part = path.with_extension("part");
        fs::write(&part, &archive).map_err(EngineError::file("write", &part))?;
        fs::rename(&part, &path).map_err(EngineError::file("write", &path))?;
    }
    Ok(vec![path])
}
