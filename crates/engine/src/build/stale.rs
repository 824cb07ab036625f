//! Whether a built image still is what its list of packages asks for.

use super::plan::read_list;
use banger_core::image::{ImageOrigin, ImageRecord};
use banger_provision::{Manifest, PackageList};
use std::fs;

/// Why it is not; `None` when it is, or was built without a list. Reads files.
pub(crate) fn staleness(record: &ImageRecord) -> Option<String> {
    if record.origin != ImageOrigin::Built {
        return None;
    }
    let text = fs::read(Manifest::path_of(&record.rootfs)).ok()?;
    let request = serde_json::from_slice::<Manifest>(&text).ok()?.request;
    let (file, built_with) = (request.file?, request.file_sha256?);
    let shown = file.display();
    let Ok(text) = read_list(&file) else {
        return Some(format!("its list of packages, `{shown}`, cannot be read any more"));
    };
    match PackageList::parse(&text) {
        Ok(list) if list.sha256() == built_with => None,
        Ok(_) => Some(format!("`{shown}` asks for other packages than when it was built")),
        Err(error) => Some(format!("`{shown}` is no list of packages any more: {error}")),
    }
}
