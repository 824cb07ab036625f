//! Tells the library which commit it is built from: `BANGER_COMMIT` as given, else what `.git`
//! says, else `unknown`. No program is started for it.

use std::fs;
use std::path::{Path, PathBuf};

/// As many digits as are told apart in a project of this size, as `git describe` shows.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-env-changed=BANGER_COMMIT");
    let git = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git");
    for file in watched(&git) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let given = std::env::var("BANGER_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| head(&git)).unwrap_or_else(|| "unknown".to_owned());
    let short: String = commit.chars().take(DIGITS).collect();
    println!("cargo::rustc-env=BANGER_COMMIT={short}");
}

/// What changes with the commit. A path that is missing would mean a build at each call, so only
/// those that exist are named.
fn watched(git: &Path) -> impl Iterator<Item = PathBuf> {
    let paths = ["HEAD", "refs/heads", "packed-refs"].map(|name| git.join(name));
    paths.into_iter().filter(|path| path.exists())
}

/// The branch that is checked out.
fn symbolic(git: &Path) -> Option<String> {
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    head.trim().strip_prefix("ref: ").map(str::to_owned)
}

fn head(git: &Path) -> Option<String> {
    let Some(branch) = symbolic(git) else {
        return fs::read_to_string(git.join("HEAD")).ok().map(|head| head.trim().to_owned());
    };
    if let Ok(commit) = fs::read_to_string(git.join(&branch)) {
        return Some(commit.trim().to_owned());
    }
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, name)| *name == branch).map(|(commit, _)| commit.to_owned())
}
