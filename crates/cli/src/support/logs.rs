//! The logs below a state directory: the daemon's own, and those of VMs, builds and failed creates.

use super::{Bundle, excerpt};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How far below the state directory a log can be: `vms/<id>/console.log`.
const DEPTH: usize = 3;

/// Adds the ends of all logs.
pub(crate) fn logs(bundle: &mut Bundle, state_dir: &Path) {
    let mut found = Vec::new();
    if let Err(error) = find(state_dir, DEPTH, &mut found) {
        bundle.lack("logs", format!("`{}` cannot be read: {error}", state_dir.display()));
    }
    // The daemon's own is the one that is needed most.
    found.sort_by_key(|path| (path.components().count(), path.clone()));
    for path in found {
        let below = path.strip_prefix(state_dir).unwrap_or(&path).display();
        let name = format!("logs/{below}");
        match excerpt::read(&path) {
            Ok(excerpt) => bundle.excerpt(&name, excerpt),
            Err(error) => bundle.lack(&name, format!("it cannot be read: {error}")),
        }
    }
}

/// Regular files that are named as logs; no link is followed.
fn find(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_file() && (name.ends_with(".log") || name.contains(".log.")) {
            found.push(entry.path());
        } else if kind.is_dir() && depth > 1 {
            // A directory that goes away meanwhile, or is another user's, has no logs for us.
            drop(find(&entry.path(), depth - 1, found));
        }
    }
    Ok(())
}
