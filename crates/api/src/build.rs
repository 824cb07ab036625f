//! Which build a program is, and whether a running daemon is the one that would be started.

use crate::{API_VERSION, Version};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The commit that this library was built from, or `unknown`.
pub const COMMIT: &str = env!("BANGER_COMMIT");

/// The running program's own build data.
///
/// A program should ask once, at its start: its executable may be replaced while it runs.
pub fn this_program() -> Version {
    // The link leads to the very file that was started, even if another has its name now.
    let build = fingerprint(Path::new("/proc/self/exe")).unwrap_or_else(|_| "unknown".to_owned());
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API_VERSION,
        commit: COMMIT.to_owned(),
        build,
    }
}

/// Tells two builds of an executable apart, at the cost of one system call: its size in bytes and
/// the time of its last change in nanoseconds, in hexadecimal.
///
/// Every build and every installation writes the file anew, so that a different program never has
/// the same fingerprint. The same program can have two, where it was copied; taking the copy for
/// another build is harmless.
pub fn fingerprint(executable: &Path) -> io::Result<String> {
    let file = std::fs::metadata(executable)?;
    Ok(format!("{:x}-{:x}{:08x}", file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_the_fingerprint_of_its_file() {
        let file = std::env::current_exe().unwrap();
        assert_eq!(this_program().build, fingerprint(&file).unwrap());
        assert_ne!(this_program().build, fingerprint(Path::new("/etc/passwd")).unwrap());
    }
}
