//! Asking a server for an archive. Redirects are followed here, since each one has to be looked at.

use super::error::FetchError;
use super::place::{Place, Source, shown};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Response, Uri, header::LOCATION};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout};

/// How often a server may point elsewhere.
const MAX_REDIRECTS: usize = 5;
/// How long a connection and its TLS may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long a server may think before it answers.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a server may send nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// Asks for the archive, and returns it as it comes in.
pub(super) fn open(uri: &Uri) -> Result<Source, FetchError> {
    let agent = agent();
    let mut uri = uri.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = agent.get(&uri).call().map_err(|error| explain(&uri, error))?;
        let status = response.status();
        if status.is_redirection() {
            uri = next(&uri, &response)?;
        } else if status.is_success() {
            let body = response.into_body();
            let length = body.content_length();
            let reader = body.into_with_config().limit(u64::MAX).reader();
            return Ok(Source { reader: Box::new(reader), length });
        } else {
            return Err(FetchError::Status { url: shown(&uri), status: status.to_string() });
        }
    }
    Err(FetchError::Redirects { url: shown(&uri), limit: MAX_REDIRECTS })
}

fn agent() -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(SILENCE))
        .build();
    Agent::new_with_config(config)
}

/// Where a server points, if that may be asked.
fn next(uri: &Uri, response: &Response<Body>) -> Result<Uri, FetchError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let nowhere = || FetchError::Status {
        url: shown(uri),
        status: format!("{} without a usable `Location`", response.status()),
    };
    let target = resolve(uri, location.ok_or_else(nowhere)?).ok_or_else(nowhere)?;
    match Place::url(target) {
        Ok(Place::Url(target)) => Ok(target),
        Ok(Place::File(_)) => Err(nowhere()),
        Err(source) => Err(FetchError::RedirectedTo { url: shown(uri), source }),
    }
}

/// A reference that is relative to a URL, as in RFC 3986, section 5.2, without dot segments.
fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let text = if reference.contains("://") {
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else {
        let (dir, _) = base.path().rsplit_once('/').unwrap_or_default();
        format!("{scheme}://{authority}{dir}/{reference}")
    };
    text.parse().ok()
}

/// What failed: the name, the connection, TLS, or the server.
pub(super) fn explain(uri: &Uri, error: ureq::Error) -> FetchError {
    let host = uri.host().unwrap_or_default().to_owned();
    match error {
        ureq::Error::HostNotFound => {
            let source = io::Error::new(io::ErrorKind::NotFound, "it has no address");
            FetchError::Name { host, source }
        }
        ureq::Error::Io(source) => of_io(host, source),
        ureq::Error::Rustls(source) => FetchError::Tls { host, source },
        ureq::Error::Timeout(timeout) => {
            let (what, limit) = match timeout {
                Timeout::RecvResponse => ("answered", ANSWER),
                Timeout::PerRead | Timeout::PerWrite => ("sent anything", SILENCE),
                _ => ("been reached", CONNECT),
            };
            FetchError::Silent { host, what, seconds: limit.as_secs() }
        }
        other => FetchError::Http { url: shown(uri), source: Box::new(other) },
    }
}

fn of_io(host: String, source: io::Error) -> FetchError {
    let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(source) = tls {
        return FetchError::Tls { host, source: source.clone() };
    }
    // What std says of getaddrinfo(3) has no kind of its own.
    if source.to_string().starts_with("failed to lookup address") {
        return FetchError::Name { host, source };
    }
    FetchError::Connect { host, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_be_relative() {
        let base: Uri = "https://example.org/a/b.tar?x=1".parse().unwrap();
        let to = |reference| resolve(&base, reference).unwrap().to_string();
        assert_eq!(to("c.tar"), "https://example.org/a/c.tar");
        assert_eq!(to("/c.tar"), "https://example.org/c.tar");
        assert_eq!(to("//other.org/c.tar"), "https://other.org/c.tar");
        assert_eq!(to("http://other.org/c.tar"), "http://other.org/c.tar");
    }

    #[test]
    fn what_failed_is_told_apart() {
        let uri: Uri = "https://example.org/b.tar".parse().unwrap();
        let said = |error| explain(&uri, error).to_string();
        let lookup =
            io::Error::other("failed to lookup address information: Name does not resolve");
        assert!(said(ureq::Error::Io(lookup)).contains("`example.org` has no address"));
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert!(said(ureq::Error::Io(tls)).contains("is not who it should be"));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(said(ureq::Error::Io(refused)).contains("`example.org` cannot be reached"));
        let silent = ureq::Error::Timeout(Timeout::PerRead);
        assert!(said(silent).contains("has not sent anything for 20 s"));
    }
}
