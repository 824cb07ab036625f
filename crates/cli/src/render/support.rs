//! What is in a support bundle, for people.

use super::table::{pairs, table};
use crate::support::{Bundle, Entry};
use banger_core::unit::Bytes;
use std::path::Path;

/// Each file, then what is left out.
pub(crate) fn list(bundle: &Bundle) -> String {
    let rows: Vec<_> = bundle.files.iter().map(row).collect();
    let files = table(["FILE", "SIZE", "NOTE"], &rows);
    let left_out: Vec<(&str, String)> =
        bundle.left_out.iter().map(|what| (what.name.as_str(), what.reason.clone())).collect();
    let left_out = match left_out.is_empty() {
        true => String::new(),
        false => format!("\nLeft out:\n{}", pairs(&left_out)),
    };
    format!("{files}{left_out}\nKeys, disks and records stay where they are.\n")
}

fn row(entry: &Entry) -> [String; 3] {
    let ends = entry.of.map(|size| format!("the two ends of {}", Bytes(size)));
    let removed = match entry.removed {
        0 => None,
        1 => Some("1 secret removed".to_owned()),
        count => Some(format!("{count} secrets removed")),
    };
    let notes: Vec<String> = ends.into_iter().chain(removed).collect();
    [entry.name.clone(), Bytes(entry.bytes as u64).to_string(), notes.join("; ")]
}

/// Where it is.
pub(crate) fn written(file: Option<&Path>, bytes: Option<usize>) -> String {
    let path = file.map(|path| path.display().to_string()).unwrap_or_default();
    format!("written: {path}, {}\n", Bytes(bytes.unwrap_or(0) as u64))
}
