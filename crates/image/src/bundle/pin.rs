//! `runtime-bundle.toml`: which archive is a project's or a user's bundle.

use super::fetch::{Place, PlaceError};
use crate::checksum::{Checksum, ChecksumError};
use banger_core::error::{ErrorCode, Explain};
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file's name.
pub const PIN_FILE: &str = "runtime-bundle.toml";

/// An archive with its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Where it is.
    pub from: Place,
    /// Its checksum; a URL has one.
    pub sha256: Option<Checksum>,
}

/// Why a file names no archive.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no such file.
    #[error("no archive is named: there is no `{}`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not TOML, or has keys of its own.
    #[error("cannot understand line {line} of `{}`: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody has filled it in.
    #[error("`{}` is an empty template: it names no archive", path.display())]
    Template {
        /// The file.
        path: PathBuf,
    },
    /// It names two archives.
    #[error("`{}` gives both `url` and `path`, and one of them names the archive", path.display())]
    Both {
        /// The file.
        path: PathBuf,
    },
    /// The archive is nowhere.
    #[error("`{}` names an archive that cannot be fetched", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: PlaceError,
    },
    /// The checksum is none.
    #[error("`sha256` in `{}` cannot be used", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: ChecksumError,
    },
}

impl Explain for PinError {
    fn code(&self) -> ErrorCode {
        ErrorCode::BundleUnusable
    }

    fn hints(&self) -> Vec<String> {
        let build = "or build a bundle with `banger bundle build`".to_owned();
        match self {
            Self::Missing { .. } => vec![
                "name the archive with `banger bundle fetch --from ARCHIVE --sha256 SUM`"
                    .to_owned(),
                build,
            ],
            Self::Template { .. } => vec![
                "fill in `url` or `path`, and `sha256`; then `banger bundle fetch`".to_owned(),
                build,
            ],
            _ => vec!["docs/bundle.md shows what the file can have".to_owned()],
        }
    }
}

/// What is in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    url: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    sha256: String,
}

impl Pin {
    /// Reads a file. A `path` in it is relative to its directory.
    ///
    /// # Errors
    ///
    /// When it is missing, empty or not understood.
    pub fn read(file: &Path) -> Result<Self, PinError> {
        let path = || file.to_owned();
        let text = fs::read_to_string(file).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => PinError::Missing { path: path() },
            _ => PinError::Read { path: path(), source },
        })?;
        let Content { url, path: archive, sha256 } = toml::from_str(&text).map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| span.start)];
            let line = 1 + before.matches('\n').count();
            let problem = error.message().replace('\n', ", ");
            PinError::Syntax { path: path(), line, problem }
        })?;
        let place = match (url.as_str(), archive.as_str()) {
            ("", "") => return Err(PinError::Template { path: path() }),
            (_, "") => url,
            ("", _) => file.with_file_name(archive).display().to_string(),
            _ => return Err(PinError::Both { path: path() }),
        };
        let from = place.parse().map_err(|source| PinError::Place { path: path(), source })?;
        let sha256 = match sha256.as_str() {
            "" => None,
            text => {
                Some(text.parse().map_err(|source| PinError::Checksum { path: path(), source })?)
            }
        };
        Ok(Self { from, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::error::chain;

    fn read(text: &str) -> Result<Pin, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(PIN_FILE);
        fs::write(&file, text).unwrap();
        let shown = |error: PinError| chain(&error).replace(dir.path().to_str().unwrap(), "[DIR]");
        Pin::read(&file).map_err(shown)
    }

    #[test]
    fn a_path_is_relative_to_the_file_and_a_url_is_not() {
        let sum = "ab".repeat(32);
        let pin = read(&format!("path = \"b.tar.zst\"\nsha256 = \"{sum}\"")).unwrap();
        assert!(
            matches!(&pin.from, Place::File(path) if path.is_absolute() && path.ends_with("b.tar.zst"))
        );
        assert_eq!(pin.sha256.unwrap().to_string(), sum);
        let pin = read("url = \"https://example.org/b.tar\"").unwrap();
        assert_eq!(pin.from.to_string(), "https://example.org/b.tar");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let refused: Vec<String> = [
            "",
            "url = \"\"\nsha256 = \"\"",
            "url = \"https://e.org/b\"\npath = \"b\"",
            "url = \"http://e.org/b\"",
            "path = \"b\"\nsha256 = \"abc\"",
            "path = \"b\"\nsha512 = \"abc\"",
        ]
        .into_iter()
        .map(|text| read(text).unwrap_err())
        .collect();
        insta::assert_snapshot!(refused.join("\n"), @r"
        `[DIR]/runtime-bundle.toml` is an empty template: it names no archive
        `[DIR]/runtime-bundle.toml` is an empty template: it names no archive
        `[DIR]/runtime-bundle.toml` gives both `url` and `path`, and one of them names the archive
        `[DIR]/runtime-bundle.toml` names an archive that cannot be fetched: `http://e.org/b` is not asked: an archive comes by `https`, or by `http` from this machine itself
        `sha256` in `[DIR]/runtime-bundle.toml` cannot be used: `abc` is no SHA-256 checksum, which has 64 hexadecimal digits
        cannot understand line 2 of `[DIR]/runtime-bundle.toml`: unknown field `sha512`, expected one of `url`, `path`, `sha256`
        ");
    }

    #[test]
    fn the_example_of_the_document_names_an_archive() {
        let document = include_str!("../../../../docs/bundle.md");
        let example = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(read(example).unwrap().sha256.is_some());
    }
}
