//! Images as people read them.

use super::table::{pairs, table};
use super::time::age;
use banger_api::ImageView;
use banger_core::unit::Bytes;
use jiff::Timestamp;
use std::path::Path;

/// The table of `image list`.
pub(crate) fn list(images: &[ImageView], now: Timestamp) -> String {
    let rows: Vec<_> = images
        .iter()
        .map(|image| {
            [
                image.name.to_string(),
                image.kind.as_str().to_owned(),
                image.origin.as_str().to_owned(),
                size(image),
                image.used_by.len().to_string(),
                usable(image).to_owned(),
                age(&image.created_at, now),
            ]
        })
        .collect();
    table(["NAME", "KIND", "ORIGIN", "SIZE", "VMS", "USABLE", "AGE"], &rows)
}

/// Everything about one image.
pub(crate) fn show(image: &ImageView) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let words = |words: &[String]| (!words.is_empty()).then(|| words.join(" "));
    let users: Vec<String> = image.used_by.iter().map(ToString::to_string).collect();
    let path = |path: &Path| path.display().to_string();
    let mut lines = vec![
        ("name", image.name.to_string()),
        ("id", image.id.to_string()),
        ("kind", image.kind.as_str().to_owned()),
        ("origin", image.origin.as_str().to_owned()),
        ("root file system", path(&image.rootfs)),
        ("size", size(image)),
        ("digest", or_dash(image.digest.clone())),
        ("kernel", or_dash(image.kernel.as_deref().map(path))),
        ("initrd", or_dash(image.initrd.as_deref().map(path))),
        ("boot args", or_dash(words(&image.boot_args))),
        ("used by", or_dash(words(&users))),
        ("created", image.created_at.clone()),
        ("usable", usable(image).to_owned()),
    ];
    if let Some(problem) = &image.problem {
        lines.push(("problem", problem.message.clone()));
        lines.extend(problem.causes.iter().map(|cause| ("caused by", cause.clone())));
    }
    pairs(&lines)
}

fn size(image: &ImageView) -> String {
    image.size_bytes.map_or_else(|| "-".to_owned(), |size| Bytes(size).to_string())
}

fn usable(image: &ImageView) -> &'static str {
    if image.problem.is_none() { "yes" } else { "no" }
}
