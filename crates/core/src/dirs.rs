//! Where banger keeps its files: one resolution for the daemon and the command line.
//!
//! | what | override | else | else |
//! |---|---|---|---|
//! | configuration | `BANGER_CONFIG` (the file) | `$XDG_CONFIG_HOME/banger/config.toml` | `~/.config/banger/config.toml` |
//! | state | `BANGER_STATE_DIR` | `$XDG_STATE_HOME/banger` | `~/.local/state/banger` |
//! | cache | `BANGER_CACHE_DIR` | `$XDG_CACHE_HOME/banger` | `~/.cache/banger` |
//! | runtime | `BANGER_RUNTIME_DIR` | `$XDG_RUNTIME_DIR/banger` | `/run/banger` for root; `/run/user/<uid>/banger` where that exists; `/tmp/banger-<uid>` |
//!
//! A variable that is set to nothing counts as not set. As the XDG base directory specification
//! (0.8) asks, a relative `XDG_*` path is ignored; a relative `BANGER_*` path is an error, because
//! the instance is derived from the state directory's path.

use crate::error::{ErrorCode, Explain};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name of the daemon's socket in the runtime directory.
pub const SOCKET_NAME: &str = "bangerd.sock";

/// The longest path that a socket's address holds, in bytes: `sun_path` has 108, with a null.
pub const MAX_SOCKET_PATH: usize = 107;

/// What the resolution has to know about the process and the host.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<E, X> {
    /// Looks an environment variable up.
    pub env: E,
    /// Says whether a directory exists.
    pub exists: X,
    /// The user's id.
    pub uid: u32,
}

/// Where each kind of file belongs. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The configuration file; it need not exist.
    pub config_file: PathBuf,
    /// Records, images, disks, keys, logs.
    pub state_dir: PathBuf,
    /// Sockets; gone after a reboot.
    pub runtime_dir: PathBuf,
    /// What can be made again.
    pub cache_dir: PathBuf,
}

/// Why the directories cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirsError {
    /// An override is not an absolute path.
    #[error("`{variable}` is `{}`, which is not an absolute path", value.display())]
    Relative {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: PathBuf,
    },
    /// There is no home directory, and nothing says where else to go.
    #[error("`HOME` is not set to an absolute path, and neither is `{instead}`")]
    NoHome {
        /// The variable that would do as well.
        instead: &'static str,
    },
    /// The socket's path does not fit into a socket address.
    #[error(
        "the socket's path `{}` has {} bytes; a socket's path has at most {MAX_SOCKET_PATH}",
        path.display(),
        path.as_os_str().len()
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
    },
}

impl Explain for DirsError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidConfig
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Relative { variable, .. } => {
                format!("set `{variable}` to a path that begins with `/`, or unset it")
            }
            Self::NoHome { instead } => format!("set `HOME` or `{instead}`"),
            Self::SocketPath { .. } => "set `BANGER_RUNTIME_DIR` to a shorter path".to_owned(),
        }]
    }
}

impl Dirs {
    /// Resolves all of them.
    pub fn resolve<E, X>(around: &Surroundings<E, X>) -> Result<Self, DirsError>
    where
        E: Fn(&str) -> Option<OsString>,
        X: Fn(&Path) -> bool,
    {
        let config_dir = around.base("XDG_CONFIG_HOME", ".config");
        let config_file = match around.overriding("BANGER_CONFIG")? {
            Some(file) => file,
            None => config_dir.ok_or(no_home("BANGER_CONFIG"))?.join("config.toml"),
        };
        Ok(Self {
            config_file,
            state_dir: around.dir("BANGER_STATE_DIR", "XDG_STATE_HOME", ".local/state")?,
            runtime_dir: runtime_dir(around)?,
            cache_dir: around.dir("BANGER_CACHE_DIR", "XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join(SOCKET_NAME)
    }
}

/// Resolves the runtime directory alone, which is all that a client needs.
pub fn runtime_dir<E, X>(around: &Surroundings<E, X>) -> Result<PathBuf, DirsError>
where
    E: Fn(&str) -> Option<OsString>,
    X: Fn(&Path) -> bool,
{
    let dir = match around.overriding("BANGER_RUNTIME_DIR")? {
        Some(dir) => dir,
        None => around.default_runtime_dir(),
    };
    let socket = dir.join(SOCKET_NAME);
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(DirsError::SocketPath { path: socket });
    }
    Ok(dir)
}

fn no_home(instead: &'static str) -> DirsError {
    DirsError::NoHome { instead }
}

impl<E, X> Surroundings<E, X>
where
    E: Fn(&str) -> Option<OsString>,
    X: Fn(&Path) -> bool,
{
    fn variable(&self, name: &str) -> Option<PathBuf> {
        (self.env)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// A `BANGER_*` variable, which must be absolute.
    fn overriding(&self, variable: &'static str) -> Result<Option<PathBuf>, DirsError> {
        match self.variable(variable) {
            Some(value) if value.is_relative() => Err(DirsError::Relative { variable, value }),
            value => Ok(value),
        }
    }

    /// `banger` below a base directory of the specification, or below its default in the home.
    fn base(&self, xdg: &str, below_home: &str) -> Option<PathBuf> {
        let absolute = |name: &str| self.variable(name).filter(|path| path.is_absolute());
        let base = absolute(xdg).or_else(|| Some(absolute("HOME")?.join(below_home)))?;
        Some(base.join("banger"))
    }

    fn dir(
        &self,
        variable: &'static str,
        xdg: &str,
        below_home: &str,
    ) -> Result<PathBuf, DirsError> {
        match self.overriding(variable)? {
            Some(dir) => Ok(dir),
            None => self.base(xdg, below_home).ok_or(no_home(variable)),
        }
    }

    fn default_runtime_dir(&self) -> PathBuf {
        let xdg = self.variable("XDG_RUNTIME_DIR").filter(|path| path.is_absolute());
        if let Some(dir) = xdg {
            return dir.join("banger");
        }
        if self.uid == 0 {
            return PathBuf::from("/run/banger");
        }
        let of_user = PathBuf::from(format!("/run/user/{}", self.uid));
        if (self.exists)(&of_user) {
            of_user.join("banger")
        } else {
            PathBuf::from(format!("/tmp/banger-{}", self.uid))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(uid: u32, existing: &[&str], variables: &[(&str, &str)]) -> Result<Dirs, DirsError> {
        Dirs::resolve(&Surroundings {
            env: |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| OsString::from(value))
            },
            exists: |path: &Path| existing.iter().any(|dir| Path::new(dir) == path),
            uid,
        })
    }

    #[test]
    fn the_home_directory_is_the_last_resort() {
        let dirs = resolve(1000, &[], &[("HOME", "/home/me"), ("XDG_STATE_HOME", "")]).unwrap();
        assert_eq!(dirs.config_file, Path::new("/home/me/.config/banger/config.toml"));
        assert_eq!(dirs.state_dir, Path::new("/home/me/.local/state/banger"));
        assert_eq!(dirs.cache_dir, Path::new("/home/me/.cache/banger"));
    }

    #[test]
    fn xdg_variables_come_before_it_unless_they_are_relative() {
        let variables =
            [("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "not/absolute")];
        let dirs = resolve(1000, &[], &variables).unwrap();
        assert_eq!(dirs.config_file, Path::new("/c/banger/config.toml"));
        assert_eq!(dirs.state_dir, Path::new("/h/.local/state/banger"));
    }

    #[test]
    fn overrides_come_first_and_need_no_home() {
        let variables = [
            ("BANGER_CONFIG", "/a/c.toml"),
            ("BANGER_STATE_DIR", "/a/s"),
            ("BANGER_RUNTIME_DIR", "/a/r"),
            ("BANGER_CACHE_DIR", "/a/k"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ];
        let dirs = resolve(1000, &[], &variables).unwrap();
        assert_eq!(dirs.config_file, Path::new("/a/c.toml"));
        assert_eq!(dirs.state_dir, Path::new("/a/s"));
        assert_eq!(dirs.socket(), Path::new("/a/r/bangerd.sock"));
        assert_eq!(dirs.cache_dir, Path::new("/a/k"));
    }

    #[test]
    fn the_runtime_directory_fits_the_user() {
        let runtime = |uid, existing: &[&str], xdg| {
            let variables = [("HOME", "/h"), ("XDG_RUNTIME_DIR", xdg)];
            resolve(uid, existing, &variables).unwrap().runtime_dir
        };
        assert_eq!(runtime(1000, &[], "/x"), Path::new("/x/banger"));
        assert_eq!(runtime(0, &["/run/user/0"], ""), Path::new("/run/banger"));
        assert_eq!(runtime(7, &["/run/user/7"], ""), Path::new("/run/user/7/banger"));
        assert_eq!(runtime(7, &[], ""), Path::new("/tmp/banger-7"));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_name() {
        let message =
            |variables: &[(&str, &str)]| resolve(1000, &[], variables).unwrap_err().to_string();
        assert_eq!(
            message(&[("HOME", "/h"), ("BANGER_STATE_DIR", "state")]),
            "`BANGER_STATE_DIR` is `state`, which is not an absolute path"
        );
        assert_eq!(
            message(&[("BANGER_CONFIG", "/c")]),
            "`HOME` is not set to an absolute path, and neither is `BANGER_STATE_DIR`"
        );
        let deep = format!("/{}", "d".repeat(100));
        assert!(message(&[("HOME", "/h"), ("BANGER_RUNTIME_DIR", &deep)]).ends_with("at most 107"));
    }
}
