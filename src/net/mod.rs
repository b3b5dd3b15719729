//! The network: one HTTP client.
//!
//! In: URLs (`https:`, `http:`, `file:`), and where a file goes. Out: pages in memory, files on
//! disk that have the size and sha256 asked for, or parts of a remote file. Nothing here knows
//! what an index or a package is.

mod download;
mod error;
pub mod pip_conf;
mod range;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use percent_encoding::percent_decode_str;
use ureq::http::{Response, header};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, ResponseExt as _};
use url::Url;

use crate::sync::lock;

pub use download::Download;
pub use error::{NetError, redact};
pub use range::RangeReader;
pub use settings::{PROXY_VARIABLES, Settings};

/// The largest page that is read: the largest project of the public index has one of 40 MB.
const PAGE_LIMIT: u64 = 256 << 20;
/// The longest pause that a server's `Retry-After` is granted.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a pause looks whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);

/// An HTTP client; clones share connections and counters.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// One for each scheme, since each has its own proxy.
    https: Agent,
    http: Agent,
    /// `Authorization` by origin, from URLs that held a user name and a password.
    credentials: Mutex<BTreeMap<String, String>>,
    received: AtomicU64,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("received", &self.bytes_received()).finish_non_exhaustive()
    }
}

/// A page, whole.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it came from, after redirects: what its relative links are relative to.
    pub url: Url,
    /// The media type in lower case, without parameters; empty where the server said none.
    pub content_type: String,
    /// What it says.
    pub body: Vec<u8>,
}

/// An answer as it arrives, from a server or a local file.
struct Stream {
    reader: Box<dyn Read + Send>,
    /// The offset of the first byte that the reader gives.
    start: u64,
    /// The whole file's size in bytes, where known.
    total: Option<u64>,
}

impl Http {
    /// A client with these settings.
    pub fn new(settings: Settings) -> Result<Self, NetError> {
        let tls = TlsConfig::builder().root_certs(settings.root_certs()?).build();
        let agent = |proxy: &Option<ureq::Proxy>| {
            Agent::config_builder()
                .tls_config(tls.clone())
                .proxy(proxy.clone())
                .http_status_as_error(false)
                .user_agent(concat!("crosswheel/", env!("CARGO_PKG_VERSION")))
                .timeout_resolve(Some(settings.connect_timeout))
                .timeout_connect(Some(settings.connect_timeout))
                .timeout_per_read(Some(settings.stall_timeout))
                .timeout_per_write(Some(settings.stall_timeout))
                .max_idle_connections_per_host(8)
                .build()
                .new_agent()
        };
        let inner = Inner {
            https: agent(&settings.https_proxy),
            http: agent(&settings.http_proxy),
            settings,
            credentials: Mutex::default(),
            received: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The file of trusted certificates, for other programs that reach the same servers.
    pub fn ca_bundle(&self) -> Option<&Path> {
        self.inner.settings.ca_bundle.as_deref()
    }

    /// Bytes of bodies that arrived over the network so far, counted as decoded.
    pub fn bytes_received(&self) -> u64 {
        self.inner.received.load(Ordering::Relaxed)
    }

    /// Fetches a page. `accept` is the `Accept` header: the forms that the caller can read.
    pub fn page(&self, url: &str, accept: &str) -> Result<Page, NetError> {
        let parsed = parse(url)?;
        if let Some(path) = file_path(&parsed)? {
            let body = fs_err::read(&path).map_err(|source| local_error(url, &path, source))?;
            return Ok(Page { url: parsed, content_type: String::new(), body });
        }
        self.retry(|| {
            let mut response = self.send(&parsed, &[("accept", accept)])?;
            let content_type = content_type(&response);
            let url = parse(&response.get_uri().to_string()).unwrap_or_else(|_| parsed.clone());
            let mut body = Vec::new();
            let limited = response.body_mut().as_reader().take(PAGE_LIMIT + 1);
            self.counted(limited)
                .read_to_end(&mut body)
                .map_err(|source| NetError::from_io(parsed.as_str(), source))?;
            if body.len() as u64 > PAGE_LIMIT {
                return Err(NetError::PageTooLarge {
                    url: redact(url.as_str()),
                    limit: PAGE_LIMIT,
                });
            }
            Ok(Page { url, content_type, body })
        })
    }

    /// The size of a file, in bytes, without fetching it.
    pub fn size(&self, url: &str) -> Result<u64, NetError> {
        let parsed = parse(url)?;
        self.retry(|| {
            let stream = self.open(&parsed, Some((0, Some(0))))?;
            stream.total.ok_or_else(|| NetError::RangesRefused { url: redact(url) })
        })
    }

    /// Starts to read a file: from an offset, up to an inclusive last byte where one is given.
    ///
    /// A server may ignore the range and give all of the file: see [`Stream::start`].
    fn open(&self, url: &Url, range: Option<(u64, Option<u64>)>) -> Result<Stream, NetError> {
        if let Some(path) = file_path(url)? {
            return open_local(url, &path, range);
        }
        let value = range.map(|(first, last)| match last {
            Some(last) => format!("bytes={first}-{last}"),
            None => format!("bytes={first}-"),
        });
        // A range counts encoded bytes, so nothing may be encoded.
        let mut headers = vec![("accept-encoding", "identity")];
        headers.extend(value.as_deref().map(|value| ("range", value)));
        let response = self.send(url, &headers)?;
        let partial = response.status() == 206;
        let (start, total) = match (partial, text_header(&response, header::CONTENT_RANGE)) {
            (true, Some(text)) => parse_content_range(text).ok_or_else(|| NetError::Request {
                url: redact(url.as_str()),
                source: format!("`{text}` is not a content range").into(),
            })?,
            (true, None) => (range.map_or(0, |(first, _)| first), None),
            (false, _) => (0, response.body().content_length()),
        };
        let reader = Box::new(self.counted(response.into_body().into_reader()));
        Ok(Stream { reader, start, total })
    }

    /// One request; an HTTP error status is an error.
    fn send(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response<Body>, NetError> {
        self.go_on(url.as_str())?;
        let (url, authorization) = self.authorize(url);
        let agent = if url.scheme() == "https" { &self.inner.https } else { &self.inner.http };
        let mut request = agent.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = request.call().map_err(|e| NetError::from_ureq(url.as_str(), e))?;
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            404 | 410 => Err(NetError::NotFound { url: redact(url.as_str()) }),
            status => Err(NetError::Status {
                url: redact(url.as_str()),
                status,
                retry_after: text_header(&response, header::RETRY_AFTER)
                    .and_then(|seconds| seconds.parse().ok())
                    .map(Duration::from_secs),
            }),
        }
    }

    /// One request of any kind, and what was answered, whatever its status.
    #[cfg(feature = "shared-cache")]
    pub(crate) fn exchange(
        &self,
        request: ureq::http::Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, NetError> {
        let url = request.uri().to_string();
        self.go_on(&url)?;
        let https = request.uri().scheme_str() == Some("https");
        let agent = if https { &self.inner.https } else { &self.inner.http };
        // WebDAV has methods of its own.
        let request = agent.configure_request(request).allow_non_standard_methods(true).build();
        let response = agent.run(request).map_err(|error| NetError::from_ureq(&url, error))?;
        let (parts, body) = response.into_parts();
        let mut content = Vec::new();
        self.counted(body.into_reader())
            .read_to_end(&mut content)
            .map_err(|source| NetError::from_io(&url, source))?;
        Ok(Response::from_parts(parts, content))
    }

    /// Moves credentials out of a URL into a header, and remembers them for its origin, since an
    /// index's links do not repeat them.
    fn authorize(&self, url: &Url) -> (Url, Option<String>) {
        let origin = url.origin().ascii_serialization();
        let mut known = lock(&self.inner.credentials);
        let mut url = url.clone();
        if !url.username().is_empty() || url.password().is_some() {
            let user = percent_decode_str(url.username()).decode_utf8_lossy();
            let password = percent_decode_str(url.password().unwrap_or("")).decode_utf8_lossy();
            let pair = format!("{user}:{password}");
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            known.insert(origin.clone(), format!("Basic {encoded}"));
            // Neither can fail: a URL with a user name has a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let authorization = known.get(&origin).cloned();
        (url, authorization)
    }

    /// Tries again, a little later each time, while the error is one that may pass.
    fn retry<T>(&self, mut request: impl FnMut() -> Result<T, NetError>) -> Result<T, NetError> {
        let mut failures = 0;
        loop {
            match request() {
                Err(error) if error.is_transient() => {
                    failures += 1;
                    self.pause_after(failures, error)?;
                }
                other => return other,
            }
        }
    }

    /// Waits after the nth failure in a row, or gives the error back after the last try.
    fn pause_after(&self, failures: u32, error: NetError) -> Result<(), NetError> {
        if failures >= self.inner.settings.attempts {
            return Err(error);
        }
        let pause = match error {
            NetError::Status { retry_after: Some(asked), .. } => asked.min(LONGEST_PAUSE),
            _ => self.inner.settings.backoff * 2u32.saturating_pow(failures - 1),
        };
        let mut left = pause.min(LONGEST_PAUSE);
        while !left.is_zero() && !self.inner.settings.interrupt.is_raised() {
            let step = left.min(LOOK);
            std::thread::sleep(step);
            left -= step;
        }
        Ok(())
    }

    /// An error once the user wants to stop.
    fn go_on(&self, url: &str) -> Result<(), NetError> {
        match self.inner.settings.interrupt.is_raised() {
            true => Err(NetError::Interrupted { url: redact(url) }),
            false => Ok(()),
        }
    }

    fn counted<R: Read>(&self, reader: R) -> Counted<R> {
        Counted { reader, inner: Arc::clone(&self.inner) }
    }
}

/// Adds what is read to the client's count.
struct Counted<R> {
    reader: R,
    inner: Arc<Inner>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.inner.received.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// A URL of a scheme that can be fetched.
fn parse(url: &str) -> Result<Url, NetError> {
    let bad = |reason: String| NetError::BadUrl { url: redact(url), reason };
    let parsed = Url::parse(url).map_err(|e| bad(e.to_string()))?;
    match parsed.scheme() {
        "https" | "http" | "file" => Ok(parsed),
        scheme => Err(bad(format!("the scheme `{scheme}` is not known"))),
    }
}

/// The path that a `file:` URL names; none for other schemes.
fn file_path(url: &Url) -> Result<Option<PathBuf>, NetError> {
    if url.scheme() != "file" {
        return Ok(None);
    }
    url.to_file_path().map(Some).map_err(|()| NetError::BadUrl {
        url: url.to_string(),
        reason: "it names no local path".to_owned(),
    })
}

fn local_error(url: &str, path: &Path, source: io::Error) -> NetError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            NetError::NotFound { url: url.to_owned() }
        }
        _ => NetError::File { path: path.to_owned(), source },
    }
}

fn open_local(
    url: &Url,
    path: &Path,
    range: Option<(u64, Option<u64>)>,
) -> Result<Stream, NetError> {
    let fail = |source| local_error(url.as_str(), path, source);
    let mut file = fs_err::File::open(path).map_err(fail)?;
    let total = file.metadata().map_err(fail)?.len();
    let (first, last) = range.unwrap_or((0, None));
    let start = first.min(total);
    io::Seek::seek(&mut file, io::SeekFrom::Start(start)).map_err(fail)?;
    let end = last.map_or(total, |last| last.saturating_add(1));
    let reader = Box::new(file.take(end.saturating_sub(start)));
    Ok(Stream { reader, start, total: Some(total) })
}

fn text_header(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn content_type(response: &Response<Body>) -> String {
    let value = text_header(response, header::CONTENT_TYPE).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_lowercase()
}

/// `bytes 5-9/100` (RFC 9110, 14.4): the first byte, and the whole size unless it is `*`.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 5-9/100"), Some((5, Some(100))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_content_range("bytes */100"), None);
        assert_eq!(parse_content_range("lines 1-2/3"), None);
    }

    #[test]
    fn credentials_go_into_a_header_and_stay_with_their_origin() {
        let http = Http::new(Settings::default()).unwrap();
        let (url, authorization) = http.authorize(&parse("https://me:p%40ss@a.example/x").unwrap());
        assert_eq!(url.as_str(), "https://a.example/x");
        // "me:p@ss"
        assert_eq!(authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        let (_, again) = http.authorize(&parse("https://a.example/y").unwrap());
        assert_eq!(again, authorization);
        let (_, other) = http.authorize(&parse("https://b.example/y").unwrap());
        assert_eq!(other, None);
    }

    #[test]
    fn only_known_schemes_are_fetched() {
        assert!(matches!(parse("ftp://a.example/"), Err(NetError::BadUrl { .. })));
        assert!(matches!(parse("no url"), Err(NetError::BadUrl { .. })));
    }
}
