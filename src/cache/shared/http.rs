//! opendal's requests by the one HTTP client: with its trust and its proxies.

use opendal::raw::{HttpBody, HttpFetch};
use opendal::{Buffer, Error, ErrorKind};
use ureq::http::{Request, Response};

use crate::net::Http;

/// Sends opendal's requests.
pub(super) struct Client(pub Http);

impl HttpFetch for Client {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let request = request.map(|body| body.to_vec());
        let http = self.0.clone();
        let fail = |error: String| Error::new(ErrorKind::Unexpected, error).set_temporary();
        let answer = tokio::task::spawn_blocking(move || http.exchange(request)).await;
        let answer = answer.map_err(|error| fail(error.to_string()))?;
        let answer = answer.map_err(|error| fail(error.to_string()))?;
        let size = answer.body().len() as u64;
        Ok(answer.map(|body| {
            HttpBody::new(futures_util::stream::iter([Ok(Buffer::from(body))]), Some(size))
        }))
    }
}
