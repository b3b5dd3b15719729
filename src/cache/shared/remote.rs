//! Which server, and who asks it.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use super::super::CacheError;
use crate::environment::Environment;

/// The server's URL; `off` for none.
const URL: &str = "CROSSWHEEL_CACHE_REMOTE";
/// The name by which it knows us.
const USER: &str = "CROSSWHEEL_CACHE_REMOTE_USER";
/// Its password.
const PASSWORD: &str = "CROSSWHEEL_CACHE_REMOTE_PASSWORD";
/// What stands for both.
const TOKEN: &str = "CROSSWHEEL_CACHE_REMOTE_TOKEN";
/// Seconds that a request may take.
const TIMEOUT: &str = "CROSSWHEEL_CACHE_REMOTE_TIMEOUT";

/// What a request may take where nobody says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// The schemes, of which `http` and `https` are only read.
const SCHEMES: [&str; 8] = ["redis", "rediss", "s3", "webdav", "webdavs", "http", "https", "file"];

/// `[cache]` in `crosswheel.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteTable {
    /// The URL of the server with entries.
    pub remote: Option<String>,
    /// Seconds that a request to it may take.
    pub timeout: Option<f64>,
}

/// A server with entries. What it shows of itself holds no secret.
#[derive(Clone, PartialEq)]
pub struct Remote {
    /// Without user and password.
    pub(super) url: Url,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) timeout: Duration,
}

impl fmt::Display for Remote {
    /// The address: what is asked for beside it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.to_string()).finish_non_exhaustive()
    }
}

impl Remote {
    /// As the environment says, or else the project.
    pub fn discover(
        environment: &Environment,
        table: &RemoteTable,
    ) -> Result<Option<Self>, CacheError> {
        let written = environment.text(URL);
        let (name, text) = match (written, &table.remote) {
            (Some(text), _) => (URL, text),
            (None, Some(text)) => ("remote", text.as_str()),
            (None, None) => return Ok(None),
        };
        if text == "off" {
            return Ok(None);
        }
        let bad = |reason: String| CacheError::Setting { name, reason };
        let mut url = Url::parse(text).map_err(|error| bad(format!("it is no URL: {error}")))?;
        if !SCHEMES.contains(&url.scheme()) {
            let known = SCHEMES.join("`, `");
            return Err(bad(format!("`{}` is none of `{known}`", url.scheme())));
        }
        if written.is_none() && url.password().is_some() {
            return Err(CacheError::PasswordInFile);
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(decode);
        let password = url.password().map(decode);
        // Neither can fail where there is one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let given = |name| environment.text(name).map(str::to_owned);
        let timeout = match environment.text(TIMEOUT) {
            Some(text) => Some(text.parse::<f64>().map_err(|_| CacheError::Setting {
                name: TIMEOUT,
                reason: format!("`{text}` is no number of seconds"),
            })?),
            None => table.timeout,
        };
        let timeout = timeout.map(|seconds| match Duration::try_from_secs_f64(seconds) {
            Ok(timeout) if !timeout.is_zero() => Ok(timeout),
            _ => {
                let reason = format!("`{seconds}` is no time that a request could take");
                Err(CacheError::Setting { name: TIMEOUT, reason })
            }
        });
        Ok(Some(Self {
            url,
            user: given(USER).or(user),
            password: given(PASSWORD).or(password),
            token: given(TOKEN),
            timeout: timeout.transpose()?.unwrap_or(DEFAULT_TIMEOUT),
        }))
    }

    /// Text without what is secret.
    #[cfg(feature = "shared-cache")]
    pub(super) fn redact(&self, text: &str) -> String {
        let secrets = [&self.password, &self.token].into_iter().flatten();
        let secrets = secrets.filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn discover(variables: &[(&str, &str)], table: &RemoteTable) -> Result<Remote, CacheError> {
        let environment = Environment::new(variables.iter().copied(), Path::new("/"));
        Remote::discover(&environment, table).map(Option::unwrap)
    }

    #[test]
    fn credentials_are_taken_and_never_shown() {
        let url = (URL, "redis://me:p%40ss@cache.example:6379/2?root=/x");
        let remote = discover(&[url], &RemoteTable::default()).unwrap();
        assert_eq!(remote.user.as_deref(), Some("me"));
        assert_eq!(remote.password.as_deref(), Some("p@ss"));
        assert_eq!(remote.to_string(), "redis://cache.example:6379/2");
        assert!(!format!("{remote:?}").contains("p@ss"));
        let set = [url, (USER, "you"), (PASSWORD, "word"), (TOKEN, "t"), (TIMEOUT, "0.5")];
        let remote = discover(&set, &RemoteTable::default()).unwrap();
        assert_eq!(
            (remote.user.as_deref(), remote.password.as_deref()),
            (Some("you"), Some("word"))
        );
        assert_eq!(remote.timeout, Duration::from_millis(500));
    }

    #[test]
    fn the_environment_comes_before_the_project() {
        let of = |remote: &str| RemoteTable { remote: Some(remote.to_owned()), timeout: Some(7.0) };
        let remote = discover(&[], &of("webdavs://cache.example/a")).unwrap();
        assert_eq!(remote.timeout, Duration::from_secs(7));
        let other = discover(&[(URL, "s3://bucket/a")], &of("file:///a")).unwrap();
        assert_eq!(other.to_string(), "s3://bucket/a");
        let off = Environment::new([(URL, "off")], Path::new("/"));
        assert_eq!(Remote::discover(&off, &of("file:///a")).unwrap(), None);
        assert!(matches!(
            discover(&[], &of("redis://me:secret@cache.example")),
            Err(CacheError::PasswordInFile)
        ));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let refused = |variables: &[(&str, &str)]| {
            discover(variables, &RemoteTable::default()).unwrap_err().to_string()
        };
        assert!(refused(&[(URL, "cache.example")]).contains("it is no URL"));
        assert!(refused(&[(URL, "ftp://u:secret@x")]).contains("`ftp` is none of `redis`"));
        let file = (URL, "file:///a");
        assert!(refused(&[file, (TIMEOUT, "soon")]).contains("`soon` is no number of seconds"));
        assert!(refused(&[file, (TIMEOUT, "-1")]).contains("`-1` is no time"));
    }
}
