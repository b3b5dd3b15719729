//! How to reach the network: trust, proxies and patience, from the machine's own configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, parse_pem};
use url::Url;

use super::error::{NetError, redact};
use super::pip_conf::PipConf;
use crate::environment::Environment;
use crate::exec::Interrupt;

/// Bundles of the distributions' CA packages, as OpenSSL's users know them: Debian and Ubuntu,
/// Fedora, openSUSE, Alpine.
const BUNDLES: &[&str] = &[
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
];

/// Variables that name proxies, and what needs none, as curl and its kin read them: for programs that
/// reach the network by themselves.
pub const PROXY_VARIABLES: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// How to reach the network.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A file of trusted certificates in PEM form; Mozilla's roots where there is none.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy for `https:` URLs.
    pub https_proxy: Option<ureq::Proxy>,
    /// The proxy for `http:` URLs. It is asked to CONNECT, as for `https:`.
    pub http_proxy: Option<ureq::Proxy>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a connection may stay silent.
    pub stall_timeout: Duration,
    /// How often a request is tried in all, when the connection or the server fails for a moment.
    pub attempts: u32,
    /// The pause before the second try; each further one is twice as long.
    pub backoff: Duration,
    /// Raised when the user wants to stop.
    pub interrupt: Interrupt,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca_bundle: None,
            https_proxy: None,
            http_proxy: None,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
            attempts: 5,
            backoff: Duration::from_millis(500),
            interrupt: Interrupt::new(),
        }
    }
}

impl Settings {
    /// The settings that this machine's own clients use.
    ///
    /// Trust: `SSL_CERT_FILE`, `PIP_CERT`, pip's `cert` option, `REQUESTS_CA_BUNDLE`, the
    /// distribution's bundle below `root` (which is `/` but for tests). Proxies: `HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case. Patience: `PIP_DEFAULT_TIMEOUT` or
    /// `UV_HTTP_TIMEOUT`, in seconds.
    pub fn discover(environment: &Environment, root: &Path) -> Result<Self, NetError> {
        let conf = PipConf::load(environment, root);
        let defaults = Self::default();
        let seconds = ["PIP_DEFAULT_TIMEOUT", "UV_HTTP_TIMEOUT"]
            .into_iter()
            .find_map(|name| environment.text(name)?.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|timeout| !timeout.is_zero());
        Ok(Self {
            ca_bundle: ca_bundle(environment, &conf, root),
            https_proxy: proxy(environment, &["https_proxy", "HTTPS_PROXY"])?,
            // The upper-case name can be set by a request's `Proxy:` header in CGI, so curl and
            // requests ignore it there; a build machine is no CGI, and uv reads both.
            http_proxy: proxy(environment, &["http_proxy", "HTTP_PROXY"])?,
            stall_timeout: seconds.unwrap_or(defaults.stall_timeout),
            ..defaults
        })
    }

    /// The certificates to trust.
    pub(super) fn root_certs(&self) -> Result<RootCerts, NetError> {
        let Some(path) = &self.ca_bundle else { return Ok(RootCerts::WebPki) };
        let pem =
            fs_err::read(path).map_err(|source| NetError::File { path: path.clone(), source })?;
        let certificates: Vec<_> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(NetError::NoCertificates { path: path.clone() });
        }
        Ok(RootCerts::from(certificates))
    }
}

fn ca_bundle(environment: &Environment, conf: &PipConf, root: &Path) -> Option<PathBuf> {
    // A variable that is set must hold, so that a wrong one is an error and not a guess.
    environment
        .path("SSL_CERT_FILE")
        .or_else(|| environment.path("PIP_CERT"))
        .or_else(|| conf.global("cert").map(PathBuf::from))
        .or_else(|| environment.path("REQUESTS_CA_BUNDLE"))
        .or_else(|| BUNDLES.iter().map(|path| root.join(path)).find(|path| path.is_file()))
}

fn proxy(environment: &Environment, names: &[&str]) -> Result<Option<ureq::Proxy>, NetError> {
    let found = names.iter().chain(&["all_proxy", "ALL_PROXY"]);
    let Some((name, value)) = found.filter_map(|n| Some((*n, environment.text(n)?))).next() else {
        return Ok(None);
    };
    let bad = || NetError::BadProxy { variable: name.to_owned(), value: redact(value) };
    let with_scheme =
        if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&with_scheme).map_err(|_| bad())?;
    let protocol = match url.scheme() {
        "http" => ureq::ProxyProtocol::Http,
        "https" => ureq::ProxyProtocol::Https,
        _ => return Err(bad()),
    };
    let mut builder = ureq::Proxy::builder(protocol).host(url.host_str().ok_or_else(bad)?);
    if let Some(port) = url.port() {
        builder = builder.port(port);
    }
    if !url.username().is_empty() {
        builder = builder.username(url.username());
    }
    if let Some(password) = url.password() {
        builder = builder.password(password);
    }
    let exceptions = environment.text("no_proxy").or_else(|| environment.text("NO_PROXY"));
    for exception in exceptions.into_iter().flat_map(|list| list.split(',')) {
        builder = builder.no_proxy(exception.trim());
    }
    builder.build().map(Some).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discover(variables: &[(&str, &str)], root: &Path) -> Result<Settings, NetError> {
        Settings::discover(&Environment::new(variables.iter().copied(), root), root)
    }

    #[test]
    fn trust_comes_from_the_variable_first_and_the_distribution_last() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(discover(&[], root).unwrap().ca_bundle, None);
        let bundle = root.join("etc/pki/tls/certs/ca-bundle.crt");
        fs_err::create_dir_all(bundle.parent().unwrap()).unwrap();
        fs_err::write(&bundle, "").unwrap();
        assert_eq!(discover(&[], root).unwrap().ca_bundle, Some(bundle));
        let set = discover(&[("PIP_CERT", "/p.pem"), ("SSL_CERT_FILE", "/s.pem")], root).unwrap();
        assert_eq!(set.ca_bundle, Some(PathBuf::from("/s.pem")));
    }

    #[test]
    fn a_bundle_without_certificates_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        fs_err::write(&path, "nothing\n").unwrap();
        let settings = Settings { ca_bundle: Some(path), ..Settings::default() };
        assert!(matches!(settings.root_certs(), Err(NetError::NoCertificates { .. })));
    }

    #[test]
    fn proxies_and_their_exceptions() {
        let root = Path::new("/nonexistent");
        let settings = discover(
            &[
                ("https_proxy", "http://u:p@proxy.example:3128"),
                ("NO_PROXY", "a.example, .b.example"),
            ],
            root,
        );
        let proxy = settings.unwrap().https_proxy.unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
        assert_eq!((proxy.username(), proxy.password()), (Some("u"), Some("p")));
        assert!(proxy.is_no_proxy(&"https://a.example/".parse().unwrap()));
        assert!(proxy.is_no_proxy(&"https://x.b.example/".parse().unwrap()));
        assert!(!proxy.is_no_proxy(&"https://c.example/".parse().unwrap()));
        let bad = discover(&[("HTTPS_PROXY", "gopher://u:secret@x")], root).unwrap_err();
        assert!(!bad.to_string().contains("secret"), "{bad}");
    }

    #[test]
    fn patience_is_pips() {
        let root = Path::new("/nonexistent");
        let patient = discover(&[("PIP_DEFAULT_TIMEOUT", "180")], root).unwrap();
        assert_eq!(patient.stall_timeout, Duration::from_secs(180));
        let odd = discover(&[("PIP_DEFAULT_TIMEOUT", "-1")], root).unwrap();
        assert_eq!(odd.stall_timeout, Settings::default().stall_timeout);
    }
}
