//! Building banger's programs.

use crate::cmd::Cmd;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// The target that banger-init is built for. Naming it keeps the flags below from the build scripts.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// cargo, the one that runs xtask.
pub(crate) fn cargo(workspace: &Workspace) -> Cmd {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    Cmd::new(Path::new(&cargo)).dir(workspace.root())
}

/// Builds `banger` and `bangerd`, and puts a static `banger-init` beside them, where the daemon looks
/// for it.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<()> {
    build_for_host(workspace, profile)?;
    cargo(workspace)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--release", "--package", "banger-guest", "--target", TARGET])
        .run()?;
    let built = workspace.target().join(TARGET).join("release/banger-init");
    place(&built, &workspace.program(profile, "banger-init"))
}

/// Builds `banger` and `bangerd`, those of the debug profile together with all tests: alone they would
/// get other features of the same dependencies, and everything would be built twice.
pub(crate) fn build_for_host(workspace: &Workspace, profile: Profile) -> Result<()> {
    let what: &[&str] = match profile {
        Profile::Debug => &["--workspace", "--all-targets"],
        Profile::Release => &["--release", "--package", "banger-cli", "--package", "banger-daemon"],
    };
    cargo(workspace).arg("build").args(what).run()
}

/// Builds the programs by which a part of banger is measured alone, in the release profile: examples,
/// each as its package and its name. They are in `target/release/examples`.
pub(crate) fn build_examples(workspace: &Workspace, examples: &[(&str, &str)]) -> Result<()> {
    let chosen =
        examples.iter().flat_map(|(package, name)| ["--package", *package, "--example", *name]);
    cargo(workspace).args(["build", "--release"]).args(chosen).run()
}

/// Copies the programs to where no build replaces them below running tests.
pub(crate) fn set_apart(workspace: &Workspace, profile: Profile, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    ["banger", "bangerd", "banger-init"]
        .into_iter()
        .try_for_each(|name| place(&workspace.program(profile, name), &dir.join(name)))
}

/// Copies the file unless the copy is there. A running daemon never sees half of it.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let part = to.with_extension("part");
    fs::copy(from, &part)
        .and_then(|_| fs::rename(&part, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_copy_is_executable_and_follows_the_original() {
        let dir = std::env::temp_dir().join(format!("xtask-place-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (from, to) = (dir.join("from"), dir.join("to"));
        for content in ["one", "two", "two"] {
            fs::write(&from, content).unwrap();
            fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
            place(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), content);
            assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
