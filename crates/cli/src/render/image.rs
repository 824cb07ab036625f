//! Images as people read them.

use super::table::{pairs, table};
use super::time::age;
use banger_api::{ImageImport, ImageView};
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
    lines.extend(image.import.iter().flat_map(import));
    if let Some(stale) = &image.stale {
        lines.push(("stale", stale.clone()));
    }
    if let Some(problem) = &image.problem {
        lines.push(("problem", problem.message.clone()));
        lines.extend(problem.causes.iter().map(|cause| ("caused by", cause.clone())));
    }
    pairs(&lines)
}

/// Where an image came from.
fn import(import: &ImageImport) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("imported from", import.source.display().to_string()),
        ("source kind", import.kind.replace('_', " ")),
    ];
    let digests = [
        ("archive digest", &import.archive_digest),
        ("manifest digest", &import.manifest_digest),
        ("config digest", &import.config_digest),
    ];
    lines.extend(digests.into_iter().filter_map(|(key, digest)| Some((key, digest.clone()?))));
    lines.extend(import.layers.iter().map(|layer| ("layer", layer.clone())));
    if let Some(container) = &import.container {
        let texts = [
            ("entry point", container.entrypoint.join(" ")),
            ("command", container.cmd.join(" ")),
            ("user", container.user.clone().unwrap_or_default()),
            ("directory", container.working_dir.clone().unwrap_or_default()),
        ];
        lines.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()));
        lines.extend(container.env.iter().map(|variable| ("environment", variable.clone())));
        let label = |(key, value): (&String, &String)| ("label", format!("{key}={value}"));
        lines.extend(container.labels.iter().map(label));
    }
    lines.extend(import.warnings.iter().map(|warning| ("warning", warning.clone())));
    lines
}

fn size(image: &ImageView) -> String {
    image.size_bytes.map_or_else(|| "-".to_owned(), |size| Bytes(size).to_string())
}

fn usable(image: &ImageView) -> &'static str {
    if image.problem.is_none() { "yes" } else { "no" }
}
