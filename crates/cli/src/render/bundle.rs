//! The runtime bundle, for people.

use super::table::{pairs, table};
use banger_api::{BundleContent, BundlePart, BundleStatus};
use banger_core::unit::Bytes;
use serde_json::Value;

/// The role of the one part that is a directory.
const MODULE_TREE: &str = "module tree";

/// Where it is and came from, then a line for each part.
pub(crate) fn text(bundle: &BundleStatus) -> String {
    let usable = if bundle.problem.is_none() { "yes" } else { "no" };
    let mut lines =
        vec![("directory", bundle.dir.display().to_string()), ("usable", usable.to_owned())];
    let Some(content) = &bundle.content else { return pairs(&lines) };
    lines.extend(origin(content));
    if content.parts.is_empty() {
        return pairs(&lines);
    }
    let rows: Vec<_> = content.parts.iter().map(row).collect();
    pairs(&lines) + "\n" + &table(["PART", "SIZE", "SHA-256", "PATH", "BY"], &rows)
}

fn row(part: &BundlePart) -> [String; 5] {
    let size = match part.bytes {
        Some(bytes) => Bytes(bytes).to_string(),
        None if part.role == MODULE_TREE => "-".to_owned(),
        None => "missing".to_owned(),
    };
    let sum = part.sha256.as_deref().map_or("-", |sum| sum.get(..12).unwrap_or(sum));
    [
        part.role.clone(),
        size,
        sum.to_owned(),
        part.path.display().to_string(),
        part.named_by.clone(),
    ]
}

/// What `bundle.json` says of itself.
fn origin(content: &BundleContent) -> Vec<(&'static str, String)> {
    let Some(manifest) = &content.manifest else {
        return vec![("manifest", "none; the files are known by their names".to_owned())];
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let provenance = &manifest["provenance"];
    let archive = &provenance["archive"];
    let words = manifest["boot_args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = words.collect();
    let packages = provenance["packages"].as_array().map(|list| list.len().to_string());
    let lines = [
        ("manifest", Some(format!("bundle.json, version {}", manifest["version"]))),
        ("image", text(&manifest["name"])),
        ("boot args", (!words.is_empty()).then(|| words.join(" "))),
        ("built", text(&provenance["built"])),
        ("suite", text(&provenance["suite"])),
        ("packages", packages.filter(|count| count != "0")),
        ("archive", text(&archive["from"])),
        ("archive sum", text(&archive["sha256"])),
        ("fetched", text(&archive["fetched"])),
    ];
    lines.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
