//! The runtime bundle, as it is on the wire.

use banger_api::{BundleContent, BundlePart};
use banger_image::bundle::{Bundle, NamedBy, Part};
use std::fs;

/// The parts of a bundle, whether or not they are there, and its manifest.
pub fn content(bundle: &Bundle) -> BundleContent {
    let has_manifest = bundle.parts().iter().any(|part| part.named_by == NamedBy::Manifest);
    let manifest = has_manifest
        .then(|| serde_json::to_value(bundle.manifest()).expect("a manifest has string keys only"));
    BundleContent { parts: bundle.parts().iter().map(part).collect(), manifest }
}

fn part(part: &Part) -> BundlePart {
    let meta = fs::metadata(&part.path).ok().filter(|meta| meta.is_file());
    BundlePart {
        role: part.role.to_string(),
        path: part.path.clone(),
        named_by: part.named_by.to_string().replace('`', ""),
        bytes: meta.map(|meta| meta.len()),
        sha256: part.record.as_ref().and_then(|record| record.sha256).map(|sum| sum.to_string()),
    }
}
