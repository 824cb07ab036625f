//! Where an archive is: a file, or a URL that may be asked.

use super::download;
use super::error::FetchError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use ureq::http::Uri;

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of this machine, by its absolute path.
    File(PathBuf),
    /// A URL: `https`, or `http` to this machine itself.
    Url(Uri),
}

/// A text that is no place of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No URL.
    #[error("`{text}` is no URL")]
    Url {
        /// The text that was refused.
        text: String,
    },
    /// A URL that may not be asked.
    #[error(
        "`{url}` is not asked: an archive comes by `https`, or by `http` from this machine itself"
    )]
    Scheme {
        /// The URL.
        url: String,
    },
    /// A path that means something else for everybody.
    #[error("`{text}` is neither a URL nor an absolute path")]
    Relative {
        /// The text that was refused.
        text: String,
    },
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text.contains("://") {
            let uri = text.parse().ok().ok_or_else(|| PlaceError::Url { text: text.to_owned() })?;
            return Self::url(uri);
        }
        if Path::new(text).is_absolute() {
            return Ok(Self::File(PathBuf::from(text)));
        }
        Err(PlaceError::Relative { text: text.to_owned() })
    }
}

impl Place {
    /// A URL, if it may be asked.
    pub(super) fn url(uri: Uri) -> Result<Self, PlaceError> {
        let host = uri.host().unwrap_or_default();
        let may = match uri.scheme_str() {
            Some("https") => !host.is_empty(),
            Some("http") => is_this_machine(host),
            _ => false,
        };
        if may { Ok(Self::Url(uri)) } else { Err(PlaceError::Scheme { url: shown(&uri) }) }
    }

    /// Begins to read.
    pub(super) fn open(&self) -> Result<Source, FetchError> {
        match self {
            Self::File(path) => {
                let open = || {
                    let file = File::open(path)?;
                    let meta = file.metadata()?;
                    if !meta.is_file() {
                        return Err(io::Error::other("it is no file"));
                    }
                    Ok(Source { length: Some(meta.len()), reader: Box::new(file) })
                };
                open().map_err(|source| FetchError::File { path: path.clone(), source })
            }
            Self::Url(uri) => download::open(uri),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(uri) => f.write_str(&shown(uri)),
        }
    }
}

/// A URL without the parts that may hold a secret: user, password and query.
pub(super) fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What an archive is read from.
pub(super) struct Source {
    pub(super) reader: Box<dyn Read>,
    /// Its length in bytes, if that is known.
    pub(super) length: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_in_the_clear() {
        for text in
            ["https://example.org/b.tar", "http://127.0.0.1:8000/b.tar", "http://[::1]/b", "/b.tar"]
        {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let refused = |text: &str| text.parse::<Place>().unwrap_err().to_string();
        for text in ["http://example.org/b", "ftp://example.org/b", "http://10.0.0.1/"] {
            assert!(refused(text).contains("is not asked"), "{text}");
        }
        for text in ["https://", "file:///etc/b"] {
            assert!(refused(text).contains("is no URL"), "{text}");
        }
        assert!(refused("b.tar").contains("nor an absolute path"));
    }

    #[test]
    fn a_password_and_a_query_are_not_shown() {
        let place: Place = "https://me:secret@example.org/b.tar?token=secret".parse().unwrap();
        assert_eq!(place.to_string(), "https://example.org/b.tar");
    }
}
