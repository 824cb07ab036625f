//! How fetching a bundle fails.

use super::download;
use super::place::{Place, PlaceError};
use super::unpack::UnpackError;
use crate::bundle::{BuildError, BundleError};
use crate::checksum::Checksum;
use banger_core::error::{ErrorCode, Explain};
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// A bundle that could not be fetched. The one that was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A URL without a checksum could send anything.
    #[error("`{from}` is fetched only with its SHA-256 checksum")]
    NoChecksum {
        /// The URL.
        from: String,
    },
    /// The bundle's directory cannot be used.
    #[error(transparent)]
    Directory(#[from] BuildError),
    /// The archive's file cannot be read.
    #[error("cannot read the archive `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The server's name means nothing.
    #[error("`{host}` has no address")]
    Name {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// There is no connection to the server, or no longer one.
    #[error("`{host}` cannot be reached, or broke off")]
    Connect {
        /// The server.
        host: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The server has no certificate that is trusted here, or speaks no TLS.
    #[error("`{host}` is not who it should be, or speaks no TLS")]
    Tls {
        /// The server.
        host: String,
        /// The reason.
        #[source]
        source: rustls::Error,
    },
    /// The server does nothing.
    #[error("`{host}` has not {what} for {seconds} s")]
    Silent {
        /// The server.
        host: String,
        /// What it has not done.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The server does not have it.
    #[error("`{url}` is answered with {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: String,
    },
    /// The server points on and on.
    #[error("more than {limit} redirects, the last one to `{url}`")]
    Redirects {
        /// The last URL.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The server points to where nobody may be asked.
    #[error("`{url}` redirects to where no archive comes from")]
    RedirectedTo {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: PlaceError,
    },
    /// The server is not understood.
    #[error("the answer to `{url}` is not understood")]
    Http {
        /// The URL.
        url: String,
        /// The reason.
        #[source]
        source: Box<ureq::Error>,
    },
    /// It is another archive.
    #[error("the archive `{from}` has the SHA-256 {found}, and should have {wanted}")]
    Checksum {
        /// The archive.
        from: String,
        /// The checksum that was given.
        wanted: Checksum,
        /// The checksum that it has.
        found: Checksum,
    },
    /// It cannot be unpacked.
    #[error("cannot unpack the archive `{from}`")]
    Unpack {
        /// The archive.
        from: String,
        /// The reason.
        #[source]
        source: Box<dyn Error + Send + Sync>,
        /// Its code.
        code: ErrorCode,
    },
    /// What was unpacked is no bundle that can be used.
    #[error("what is in the archive is no bundle that can be used")]
    Unusable(#[source] BundleError),
    /// It was ended early.
    #[error("the fetch was ended early")]
    Cancelled,
}

impl FetchError {
    pub(super) fn of_unpacking(from: String, source: UnpackError) -> Self {
        let code = match &source {
            UnpackError::NoRoom { .. } => ErrorCode::NoSpace,
            UnpackError::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
                io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
                _ => ErrorCode::BundleUnusable,
            },
            _ => ErrorCode::BundleUnusable,
        };
        Self::Unpack { from, source: Box::new(source), code }
    }
}

/// An archive that broke off while it was read.
pub(super) fn while_reading(place: &Place, source: io::Error) -> FetchError {
    match place {
        Place::File(path) => FetchError::File { path: path.clone(), source },
        Place::Url(uri) => match source.downcast::<ureq::Error>() {
            Ok(error) => download::explain(uri, error),
            Err(source) => download::explain(uri, ureq::Error::Io(source)),
        },
    }
}

impl Explain for FetchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoChecksum { .. } => ErrorCode::InvalidRequest,
            Self::Directory(error) => error.code(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorCode::NotPermitted
            }
            Self::Silent { .. } => ErrorCode::Timeout,
            Self::Unpack { code, .. } => *code,
            Self::Cancelled => ErrorCode::Interrupted,
            _ => ErrorCode::BundleUnusable,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoChecksum { .. } => {
                "give it with `--sha256`, or as `sha256` in `runtime-bundle.toml`; `sha256sum` tells it"
            }
            Self::Directory(error) => return error.hints(),
            Self::File { .. } => "check the path, and that the daemon's user can read the file",
            Self::Name { .. } | Self::Connect { .. } | Self::Silent { .. } => {
                "check the network, and the proxy in `https_proxy` if there is one; or fetch the \
                 archive by other means and give its path with `--from`"
            }
            Self::Tls { .. } => {
                "check the clock and the host's certificates: on Debian, the package `ca-certificates`"
            }
            Self::Status { .. } | Self::Redirects { .. } | Self::RedirectedTo { .. } => {
                "check the URL"
            }
            Self::Checksum { .. } => {
                "fetch it again; if it has the same checksum then, it is another archive than the one \
                 that was pinned: use it only if you know why"
            }
            Self::Unpack { code: ErrorCode::NoSpace, .. } => {
                "free some room in the bundle's directory, or set `bundle_dir` to another file system"
            }
            Self::Unpack { .. } | Self::Unusable(_) => {
                "make the archive as docs/bundle.md says, or build a bundle with `banger bundle build`"
            }
            Self::Http { .. } | Self::Cancelled => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
