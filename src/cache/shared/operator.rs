//! Servers, by opendal.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use opendal::layers::HttpClientLayer;
use opendal::raw::HttpClient;
use opendal::{Builder, ErrorKind, Operator, services};
use tokio::runtime::Runtime;
use url::Url;

use super::http::Client;
use super::{Backend, Remote};
use crate::cache::CacheError;
use crate::net::Http;

/// A server.
pub(super) struct Remotely {
    operator: Operator,
    remote: Remote,
    /// There until this is dropped.
    runtime: Option<Runtime>,
}

impl Remotely {
    /// Asks nothing yet.
    pub(super) fn open(remote: &Remote, http: &Http) -> Result<Self, CacheError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(CacheError::Io)?;
        let operator = operator(remote, http).map_err(|error| CacheError::Remote {
            remote: remote.to_string(),
            reason: remote.redact(&error.to_string()),
        })?;
        Ok(Self { operator, remote: remote.clone(), runtime: Some(runtime) })
    }

    /// A request's answer, in time; `None` where there is nothing of that name.
    fn wait<T>(
        &self,
        request: impl Future<Output = opendal::Result<T>>,
    ) -> Result<Option<T>, String> {
        let limit = self.remote.timeout;
        let Some(runtime) = &self.runtime else { return Err("it was closed".to_owned()) };
        // The timer belongs to the runtime.
        match runtime.block_on(async { tokio::time::timeout(limit, request).await }) {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Ok(Err(error)) => Err(self.remote.redact(&said(&error))),
            Err(_) => Err(format!("nothing was answered for {} s", seconds(limit))),
        }
    }
}

impl Drop for Remotely {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A request that was given up may still wait for its server.
            runtime.shutdown_background();
        }
    }
}

impl Backend for Remotely {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.wait(self.operator.read(name))?.map(|bytes| bytes.to_vec()))
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        match self.wait(self.operator.write(name, bytes))? {
            Some(_) => Ok(()),
            None => Err("it has no place for entries".to_owned()),
        }
    }
}

/// opendal shows all of an answer; of one by HTTP, its status and what it says first tell enough.
fn said(error: &opendal::Error) -> String {
    let text = error.to_string();
    let status = text.split_once("status: ").and_then(|(_, rest)| rest.get(..3));
    let Some(status) = status.filter(|status| status.parse::<u16>().is_ok()) else { return text };
    let mut reason = vec![format!("it answers with HTTP status {status}")];
    let first = error.message().lines().next().unwrap_or_default();
    // A page is for browsers.
    reason.extend((!first.is_empty() && !first.starts_with('<')).then(|| first.to_owned()));
    if let "401" | "403" = status {
        reason.push("`CROSSWHEEL_CACHE_REMOTE_USER` and its kin say who asks".to_owned());
    }
    reason.join(": ")
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn operator(remote: &Remote, http: &Http) -> opendal::Result<Operator> {
    let Remote { url, user, password, token, .. } = remote;
    let mut options: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            options.entry(name.to_owned()).or_insert(value);
        }
    };
    let path = url.path().to_owned();
    match url.scheme() {
        "redis" | "rediss" => {
            set("endpoint", Some(address(url, url.scheme())));
            set("db", Some(path.trim_matches('/').to_owned()));
            set("username", user.clone());
            set("password", password.clone());
            build::<services::Redis>(options, http)
        }
        "s3" => {
            set("bucket", url.host_str().map(str::to_owned));
            set("root", Some(path));
            set("access_key_id", user.clone());
            set("secret_access_key", password.clone());
            set("session_token", token.clone());
            build::<services::S3>(options, http)
        }
        "file" => {
            set("root", Some(path));
            build::<services::Fs>(options, http)
        }
        scheme => {
            let secure = matches!(scheme, "webdavs" | "https");
            set("endpoint", Some(address(url, if secure { "https" } else { "http" })));
            set("root", Some(path));
            set("username", user.clone());
            set("password", password.clone());
            set("token", token.clone());
            match scheme {
                "webdav" | "webdavs" => build::<services::Webdav>(options, http),
                _ => build::<services::Http>(options, http),
            }
        }
    }
}

fn build<B: Builder>(options: BTreeMap<String, String>, http: &Http) -> opendal::Result<Operator> {
    let client = HttpClientLayer::new(HttpClient::with(Client(http.clone())));
    Ok(Operator::from_iter::<B>(options)?.layer(client).finish())
}

/// Scheme, host and port.
fn address(url: &Url, scheme: &str) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}", url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_its_status_is_told() {
        let error = |message: &str, status: &str| {
            let response = format!("Parts {{ status: {status}, version: HTTP/1.1 }}");
            let error = opendal::Error::new(ErrorKind::Unexpected, message);
            said(&error.with_context("response", response))
        };
        assert_eq!(
            error("<html>\n</html>", "401"),
            "it answers with HTTP status 401: `CROSSWHEEL_CACHE_REMOTE_USER` and its kin say who asks"
        );
        let missing = "S3Error { code: \"NoSuchBucket\" }";
        assert_eq!(error(missing, "404"), format!("it answers with HTTP status 404: {missing}"));
        let error = opendal::Error::new(ErrorKind::Unexpected, "refused");
        assert_eq!(said(&error), error.to_string());
    }
}
