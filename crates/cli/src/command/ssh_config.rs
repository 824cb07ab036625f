//! `banger ssh-config`: `ssh otter.vm` for the user's own ssh.
//!
//! What is to be configured is the daemon's to say, and it keeps a file with it. The user's
//! `~/.ssh/config` only gets an `Include` of that file, when it is asked for, and is replaced as a
//! whole: ssh never reads a half of it.

use super::Session;
use crate::args::SshConfigArgs;
use crate::failure::Failure;
use crate::fence::{self, FenceError};
use banger_core::dns::ZONE;
use banger_core::error::{ErrorCode, Explain};
use banger_core::ssh_config::quoted;
use serde::Serialize;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// What ssh would take for a pattern or a token in an `Include`, and has no escape for that every
/// version knows.
const UNFIT: [char; 8] = ['*', '?', '[', ']', '%', '$', '"', '\\'];

/// Why the user's configuration was left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshConfigError {
    /// Nobody knows where it is.
    #[error("`HOME` is not set to an absolute path")]
    NoHome,
    /// The daemon's file has a name that cannot be given.
    #[error("ssh's configuration cannot name `{}`", file.display())]
    Unfit {
        /// The file.
        file: PathBuf,
    },
    /// A system call failed.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What banger had put there was edited.
    #[error("`{}` cannot be changed without a loss", path.display())]
    Fence {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: FenceError,
    },
}

impl Explain for SshConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoHome | Self::Unfit { .. } => ErrorCode::InvalidConfig,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
                io::ErrorKind::StorageFull => ErrorCode::NoSpace,
                _ => ErrorCode::Host,
            },
            Self::Fence { .. } => ErrorCode::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::NoHome => "set `HOME` to your home directory".to_owned(),
            Self::Unfit { .. } => format!(
                "set `BANGER_STATE_DIR` to a path without any of {}",
                UNFIT.map(|unfit| format!("`{unfit}`")).join(", ")
            ),
            Self::Io { .. } => {
                "`banger ssh-config` prints the lines, which can be put anywhere by hand".to_owned()
            }
            Self::Fence { .. } => {
                "remove banger's markers and what of the lines between them is not wanted, and \
                 repeat the command"
                    .to_owned()
            }
        }]
    }
}

/// What became of the user's configuration.
#[derive(Debug, Serialize)]
struct Change {
    changed: bool,
    /// The user's configuration.
    file: PathBuf,
}

pub(super) async fn run(session: &Session<'_>, args: &SshConfigArgs) -> Result<(), Failure> {
    if args.uninstall {
        let change = edit(fence::without)?;
        return session.output.answer(&change, |Change { changed, file }| match changed {
            true => format!("`{}` is as it was before\n", file.display()),
            false => format!("there is nothing of banger's in `{}`\n", file.display()),
        });
    }
    let config = session.client().await?.ssh_config().await?;
    if !args.install {
        return session.output.answer(&config, |config| config.text.clone());
    }
    let line = include(&config.file)?;
    let change = edit(|file| fence::with(file, &line))?;
    session.output.answer(&change, |Change { changed, file }| {
        let how = format!("`ssh otter.{ZONE}` enters a VM of that name");
        match changed {
            true => format!("`{}` now includes banger's: {how}\n", file.display()),
            false => format!("`{}` includes banger's already: {how}\n", file.display()),
        }
    })
}

/// Takes the lines out of the user's configuration; what was done, if there were any.
pub(super) fn take_back() -> Result<Option<String>, SshConfigError> {
    let Change { changed, file } = edit(fence::without)?;
    Ok(changed.then(|| format!("`{}` is as it was before", file.display())))
}

/// The line that includes the daemon's file.
fn include(file: &Path) -> Result<String, SshConfigError> {
    match file.to_str() {
        Some(path) if !path.contains(UNFIT) && !path.contains(char::is_control) => {
            Ok(format!("Include {}", quoted(path)))
        }
        _ => Err(SshConfigError::Unfit { file: file.to_owned() }),
    }
}

/// Changes the user's configuration, if that changes anything.
fn edit(
    change: impl FnOnce(&[u8]) -> Result<Vec<u8>, FenceError>,
) -> Result<Change, SshConfigError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let dir = home.ok_or(SshConfigError::NoHome)?.join(".ssh");
    let file = dir.join("config");
    let found = Found::read(&file)?;
    let before = found.as_ref().map_or(&b""[..], |found| &found.bytes);
    let fenced = |source| SshConfigError::Fence { path: file.clone(), source };
    let after = change(before).map_err(fenced)?;
    let changed = after != before;
    match &found {
        _ if !changed => {}
        Some(found) => replace(&found.path, &after, Some(&found.metadata))?,
        None => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(io("create", &dir))?;
            replace(&file, &after, None)?;
        }
    }
    Ok(Change { changed, file })
}

/// A file that is there.
#[derive(Debug)]
struct Found {
    /// What it really is, where links lead to it.
    path: PathBuf,
    metadata: Metadata,
    bytes: Vec<u8>,
}

impl Found {
    fn read(file: &Path) -> Result<Option<Self>, SshConfigError> {
        match fs::symlink_metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            looked => looked.map_err(io("look for", file))?,
        };
        // A link to nothing is an error here: what it stands for is not known.
        let path = fs::canonicalize(file).map_err(io("read", file))?;
        let bytes = fs::read(&path).map_err(io("read", &path))?;
        let metadata = fs::metadata(&path).map_err(io("read", &path))?;
        Ok(Some(Self { path, metadata, bytes }))
    }
}

/// Replaces a file as a whole, with the mode and the owner that it had.
fn replace(path: &Path, bytes: &[u8], before: Option<&Metadata>) -> Result<(), SshConfigError> {
    let part = path.with_extension("banger-part");
    let written = write(&part, bytes, before).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| {
        // It may not have come to be.
        fs::remove_file(&part).ok();
        io("write", path)(source)
    })
}

fn write(part: &Path, bytes: &[u8], before: Option<&Metadata>) -> io::Result<()> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    if let Some(before) = before {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(before.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SshConfigError {
    let path = path.to_owned();
    move |source| SshConfigError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_that_ssh_reads_as_it_is_can_be_included() {
        let line = include(Path::new("/a b/é/ssh/config")).unwrap();
        assert_eq!(line, "Include \"/a b/é/ssh/config\"");
        for path in ["/a*/c", "/100%/c", "/[a]/c", "/a\"/c", "/a\n/c", "/${A}/c"] {
            assert!(include(Path::new(path)).is_err(), "{path}");
        }
    }
}
