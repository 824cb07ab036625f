//! A copy of what running some packages' tests takes, for a machine that has neither the source nor
//! cargo.
//!
//! ```text
//! xtask, cargo-nextest      run there what they run here
//! .config/, crates/, …      of the workspace: nextest's settings, the tests' working directories
//! target/debug/deps/        the tests
//! target/xtask/test/        the programs under test, and the lists that nextest works from
//! ```

use super::nextest::Nextest;
use crate::workspace::{Profile, Workspace};
use crate::{enclosure, programs};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What nextest looks at in the workspace, beside the packages.
const FILES: [&str; 2] = ["Cargo.toml", ".config/nextest.toml"];
const NEXTEST: &str = "cargo-nextest";

/// A package and its directory.
pub(super) type Package = (&'static str, &'static str);

/// Makes the copy, or brings it up to date. It will be known under another path where it is used.
pub(super) fn make(
    workspace: &Workspace,
    nextest: &Nextest,
    packages: &[Package],
    copy: &Path,
    known_as: &Path,
) -> Result<()> {
    let there = Workspace::new(copy.to_owned());
    place(&enclosure::own_program()?, &copy.join("xtask"))?;
    place(&whole_path(nextest.program())?, &copy.join(NEXTEST))?;
    let manifests = packages.iter().map(|(_, dir)| Path::new(dir).join("Cargo.toml"));
    for file in FILES.map(PathBuf::from).into_iter().chain(manifests) {
        place(&workspace.root().join(&file), &copy.join(file))?;
    }
    let nextest_there = nextest.of_copy(&there);
    programs::set_apart(workspace, Profile::Debug, &nextest_there.programs())?;
    nextest_there.note_program(&known_as.join(NEXTEST))?;
    place(&nextest.metadata(), &nextest_there.metadata())?;

    let mut list = read(&nextest.binaries())?;
    let target = PathBuf::from(list["rust-build-meta"]["target-directory"].as_str().unwrap_or("/"));
    for test in keep_binaries(&mut list, packages)? {
        let name = test.strip_prefix(&target).context("a test is outside the target directory")?;
        place(&test, &copy.join("target").join(name))?;
    }
    let binaries = nextest_there.binaries();
    fs::write(&binaries, list.to_string())
        .with_context(|| format!("cannot write {}", binaries.display()))
}

/// Leaves only these packages' binaries in nextest's list, and returns where they are.
fn keep_binaries(list: &mut Value, packages: &[Package]) -> Result<Vec<PathBuf>> {
    let all = list["rust-binaries"].as_object_mut().context("nextest's list has no binaries")?;
    // An id is the package's name, `::`, and the target's name, if it is not the library.
    all.retain(|id, _| {
        let package = id.split("::").next();
        packages.iter().any(|(name, _)| package == Some(name))
    });
    let path = |binary: &Value| binary["binary-path"].as_str().map(PathBuf::from);
    all.values().map(|binary| path(binary).context("a test has no path")).collect()
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
}

fn place(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().unwrap_or(to);
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    programs::place(from, to)
}

/// Where the program is that is started under this name.
fn whole_path(program: &Path) -> Result<PathBuf> {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    // A path that is whole already stays what it is.
    let mut candidates = std::env::split_paths(&dirs).map(|dir| dir.join(program));
    candidates
        .find(|path| path.is_file())
        .with_context(|| format!("`{}` is not there", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_binaries_of_the_packages_are_kept() {
        let mut list = json!({"rust-binaries": {
            "host": {"binary-path": "/t/host"},
            "host::it": {"binary-path": "/t/it"},
            "hostess": {"binary-path": "/t/hostess"},
        }});
        let mut kept = keep_binaries(&mut list, &[("host", "crates/host")]).unwrap();
        kept.sort();
        assert_eq!(kept, ["/t/host", "/t/it"].map(PathBuf::from));
        assert_eq!(list["rust-binaries"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn a_program_is_found_as_the_shell_would() {
        assert!(whole_path(Path::new("ls")).unwrap().is_absolute());
        let missing = whole_path(Path::new("no-such-program")).unwrap_err().to_string();
        assert_eq!(missing, "`no-such-program` is not there");
    }
}
