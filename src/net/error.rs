//! What can go wrong between a URL and a file.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be had from the network. URLs are shown without credentials.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Text that is not a URL that can be fetched.
    #[error("`{url}` is not a URL that can be fetched: {reason}")]
    BadUrl {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server does not have it (404 or 410), or the file of a `file:` URL does not exist.
    #[error("`{url}` does not exist")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The server answered with an error.
    #[error("`{url}` answered with HTTP status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asked to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The server sends nothing more.
    #[error("`{url}` stalled: nothing more was sent")]
    Stalled {
        /// What was asked for.
        url: String,
        /// How it was noticed.
        source: Source,
    },
    /// The user, or a signal, stopped crosswheel.
    #[error("interrupted before `{url}` was fetched")]
    Interrupted {
        /// What was asked for.
        url: String,
    },
    /// The connection failed or broke.
    #[error("the connection to `{url}` failed")]
    Connection {
        /// What was asked for.
        url: String,
        /// How it failed.
        source: Source,
    },
    /// The request cannot succeed as it is: TLS, redirects, headers.
    #[error("`{url}` cannot be fetched")]
    Request {
        /// What was asked for.
        url: String,
        /// Why.
        source: Source,
    },
    /// The answer ended before its end, without an error of the connection.
    #[error("`{url}` ended after {received} of {expected} bytes")]
    Truncated {
        /// What was asked for.
        url: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
    /// A page that is larger than any index page.
    #[error("`{url}` is larger than {limit} bytes, too large for a page")]
    PageTooLarge {
        /// What was asked for.
        url: String,
        /// Bytes.
        limit: u64,
    },
    /// A file of another length than the lock says.
    #[error("`{url}` has {actual} bytes where {expected} are expected")]
    WrongSize {
        /// What was asked for.
        url: String,
        /// Bytes, from the lock.
        expected: u64,
        /// Bytes, at least.
        actual: u64,
    },
    /// A file with other bytes than the lock says.
    #[error("`{url}` has sha256 `{actual}` where `{expected}` is expected")]
    WrongHash {
        /// What was asked for.
        url: String,
        /// From the lock.
        expected: Sha256,
        /// Of what arrived.
        actual: Sha256,
    },
    /// The server answers a request for a part of a file with the whole of it.
    #[error("`{url}` does not answer range requests")]
    RangesRefused {
        /// What was asked for.
        url: String,
    },
    /// No space is left where a download is written.
    #[error("no space is left for `{path}`")]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// Bytes still missing.
        missing: u64,
    },
    /// A local file cannot be read or written.
    #[error("`{path}` cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file with trusted certificates holds none.
    #[error("`{path}` holds no certificates in PEM form")]
    NoCertificates {
        /// The file.
        path: PathBuf,
    },
    /// A proxy variable whose value is not a proxy.
    #[error("`{variable}` is not a proxy's URL: `{value}`")]
    BadProxy {
        /// The environment variable.
        variable: String,
        /// Its value, without credentials.
        value: String,
    },
}

impl NetError {
    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Stalled { .. } | Self::Truncated { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// An error of the HTTP client, sorted by whether another try can help.
    pub(crate) fn from_ureq(url: &str, error: ureq::Error) -> Self {
        use ureq::Error as E;
        let url = redact(url);
        match error {
            E::BadUri(reason) => Self::BadUrl { url, reason },
            E::Io(source) => Self::from_io(&url, source),
            E::Timeout(at) if !matches!(at, ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                Self::Stalled { url, source: Box::new(error) }
            }
            E::Timeout(_) | E::HostNotFound | E::ConnectionFailed | E::ConnectProxyFailed(_) => {
                Self::Connection { url, source: Box::new(error) }
            }
            _ => Self::Request { url, source: Box::new(error) },
        }
    }

    /// An error while a body was read. rustls hands over certificates that it does not trust as
    /// `InvalidData`, which no second try mends.
    pub(crate) fn from_io(url: &str, source: io::Error) -> Self {
        let url = redact(url);
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        let stalled = matches!(inner, Some(ureq::Error::Timeout(_)));
        match source.kind() {
            _ if stalled => Self::Stalled { url, source: Box::new(source) },
            io::ErrorKind::InvalidData => Self::Request { url, source: Box::new(source) },
            _ => Self::Connection { url, source: Box::new(source) },
        }
    }
}

impl Diagnose for NetError {
    fn class(&self) -> Class {
        match self {
            Self::WrongSize { .. } | Self::WrongHash { .. } => Class::Integrity,
            Self::DiskFull { .. } => Class::DiskFull,
            Self::File { .. } => Class::Io,
            Self::NoCertificates { .. } | Self::BadProxy { .. } => Class::Usage,
            Self::Interrupted { .. } => Class::Interrupted,
            _ => Class::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Connection { .. } => Some(
                "check the network; proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY` and \
                 `NO_PROXY`"
                    .to_owned(),
            ),
            Self::Stalled { .. } => Some(
                "where servers are slow, `PIP_DEFAULT_TIMEOUT` is the time to wait, in seconds; \
                 what arrived is kept, and the next run goes on from there"
                    .to_owned(),
            ),
            Self::Request { .. } => Some(
                "where the network re-signs TLS, name its certificates in `SSL_CERT_FILE`"
                    .to_owned(),
            ),
            Self::Status { status: 401 | 403 | 407, .. } => {
                Some("the server wants credentials: put them in the registry's URL".to_owned())
            }
            Self::DiskFull { missing, .. } => Some(format!(
                "free at least {} MiB, or put the store on another disk with `CROSSWHEEL_STORE`",
                missing.div_ceil(1 << 20)
            )),
            Self::WrongHash { .. } | Self::WrongSize { .. } => Some(
                "the mirror or a proxy changed the file; if it was changed on purpose, lock anew"
                    .to_owned(),
            ),
            Self::NoCertificates { .. } => {
                Some("give `SSL_CERT_FILE` a bundle of certificates in PEM form".to_owned())
            }
            _ => None,
        }
    }
}

/// A URL as it may be shown: without user name and password.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redact("https://u:p@host/simple"), "https://host/simple");
        assert_eq!(redact("https://host/a@b"), "https://host/a@b");
        assert_eq!(redact("https://u:p@ss@host:1/x?y@z"), "https://host:1/x?y@z");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| NetError::Status { url: String::new(), status, retry_after: None };
        assert!(status(503).is_transient() && status(429).is_transient());
        assert!(!status(403).is_transient());
        let untrusted = io::Error::new(io::ErrorKind::InvalidData, "unknown issuer");
        assert!(!NetError::from_io("u", untrusted).is_transient());
    }
}
