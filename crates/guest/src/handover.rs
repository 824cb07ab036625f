//! The end of banger-init: it becomes the image's init.

use crate::console::CONSOLE;
use banger_core::guest::USUAL_INITS;
use rustix::fs::{Access, access};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why there is nothing to hand over to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoverError {
    /// The image lacks the init that was asked for.
    #[error("the image has no executable `{init}`, which the VM's configuration names as its init")]
    NoSuchInit {
        /// The path that was asked for.
        init: String,
    },
    /// The image has no init.
    #[error("the image has no init: none of {} is an executable", USUAL_INITS.join(", "))]
    NoInit,
    /// The kernel would not run it.
    #[error("cannot run the image's init `{}`", init.display())]
    Exec {
        /// The program.
        init: PathBuf,
        /// The reason; `No such file or directory` means that its interpreter is missing.
        #[source]
        source: io::Error,
    },
}

/// Finds the image's init below `root`, as a path from `root`.
pub(crate) fn find_init(root: &Path, wanted: Option<&str>) -> Result<PathBuf, HandoverError> {
    let executable = |init: &&str| {
        let path = root.join(init.trim_start_matches('/'));
        fs::metadata(&path).is_ok_and(|found| found.is_file())
            && access(&path, Access::EXEC_OK).is_ok()
    };
    match wanted.filter(|init| !init.is_empty()) {
        Some(init) if executable(&init) => Ok(PathBuf::from(init)),
        Some(init) => Err(HandoverError::NoSuchInit { init: init.to_owned() }),
        None => {
            let found = USUAL_INITS.into_iter().find(|init| executable(init));
            found.map(PathBuf::from).ok_or(HandoverError::NoInit)
        }
    }
}

/// Replaces this process with the image's init, its standard streams on the console, its arguments
/// those that the kernel had for init.
pub(crate) fn become_init(init: &Path) -> Result<Infallible, HandoverError> {
    // The kernel opened the initrd's console node; the image's own devtmpfs has it too. Without a
    // console the streams stay as they are.
    if let Ok(console) = OpenOptions::new().read(true).write(true).open(CONSOLE) {
        let _streams = [dup2_stdin(&console), dup2_stdout(&console), dup2_stderr(&console)];
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "process 1 becomes the image's init; no program is started beside it"
    )]
    let mut command = Command::new(init);
    // `exec` also gives SIGPIPE back its default action, which Rust's start-up took away.
    let source = command.args(std::env::args_os().skip(1)).exec();
    Err(HandoverError::Exec { init: init.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn executable(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_usual_places_are_searched_in_linuxs_order() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(find_init(root.path(), None), Err(HandoverError::NoInit)));
        executable(&root.path().join("bin/init"));
        assert_eq!(find_init(root.path(), None).unwrap(), Path::new("/bin/init"));
        executable(&root.path().join("lib/systemd/systemd"));
        fs::create_dir(root.path().join("sbin")).unwrap();
        symlink("../lib/systemd/systemd", root.path().join("sbin/init")).unwrap();
        assert_eq!(find_init(root.path(), None).unwrap(), Path::new("/sbin/init"));
        assert_eq!(find_init(root.path(), Some("")).unwrap(), Path::new("/sbin/init"));
    }

    #[test]
    fn a_named_init_must_be_an_executable_file() {
        let root = tempfile::tempdir().unwrap();
        executable(&root.path().join("sbin/init"));
        fs::write(root.path().join("data"), "").unwrap();
        for init in ["/opt/init", "/sbin", "/data"] {
            let error = find_init(root.path(), Some(init)).unwrap_err();
            assert!(matches!(error, HandoverError::NoSuchInit { .. }), "{init}");
        }
    }
}
