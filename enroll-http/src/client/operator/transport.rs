//! One funnel from a call to its answer.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ApiError, OperatorClient, PageQuery};
use crate::wire::{List, Problem};

/// A parameter of a request.
pub(super) type Param = (&'static str, String);

impl OperatorClient {
    fn url_of(&self, segments: &[&str]) -> Result<Url, ApiError> {
        // A path cannot hold these: they would be taken for another path.
        if segments.iter().any(|segment| ["", ".", ".."].contains(segment)) {
            return Err(ApiError::Name);
        }
        let mut url = self.base.clone();
        // An https URL always has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Ok(url)
    }

    pub(super) fn request(
        &self,
        method: Method,
        segments: &[&str],
        params: &[Param],
    ) -> Result<RequestBuilder, ApiError> {
        let mut url = self.url_of(&[&["v1"], segments].concat())?;
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        let request = self.http.request(method, url).timeout(self.timeout);
        Ok(request.header(AUTHORIZATION, self.authorization.clone()))
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        params: &[Param],
    ) -> Result<T, ApiError> {
        self.json(self.request(Method::GET, segments, params)?).await
    }

    /// A call whose path says it all.
    pub(super) async fn post<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, ApiError> {
        self.json(self.request(Method::POST, segments, &[])?).await
    }

    pub(super) async fn delete(&self, segments: &[&str], params: &[Param]) -> Result<(), ApiError> {
        self.done(self.request(Method::DELETE, segments, params)?).await
    }

    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        page: PageQuery,
    ) -> Result<List<T>, ApiError> {
        self.get(segments, &page.into_params()).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<T, ApiError> {
        self.json(self.request(method, segments, &[])?.json(body)).await
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let body = self.success(request).await?;
        serde_json::from_slice(&body).map_err(|why| {
            // Its text may quote what it could not read, which may be a secret.
            self.malformed(format!("line {}, column {} of its JSON", why.line(), why.column()))
        })
    }

    /// Whether `/readyz` says yes; else what it says.
    pub(super) async fn readyz(&self) -> Result<Option<String>, ApiError> {
        let request = self.http.get(self.url_of(&["readyz"])?).timeout(self.timeout);
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let body = self.read(response).await?;
        let said: Readyz = serde_json::from_slice(&body)
            .map_err(|_| self.malformed(format!("status {status} at /readyz")))?;
        Ok(if said.ready { None } else { Some(said.reason.unwrap_or_default()) })
    }

    async fn done(&self, request: RequestBuilder) -> Result<(), ApiError> {
        self.success(request).await.map(drop)
    }

    /// The body of a successful answer. It may hold a secret.
    async fn success(&self, request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let (status, is_problem) = (response.status(), is_problem(&response));
        let body = self.read(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_problem => Err(ApiError::Problem(problem)),
            _ => Err(self.malformed(unexpected(status))),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.malformed("more than 64 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn at(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn failed(&self, error: reqwest::Error) -> ApiError {
        ApiError::of_transport(self.at(), error)
    }

    fn malformed(&self, what: String) -> ApiError {
        ApiError::Malformed { at: self.at(), what }
    }
}

#[derive(Deserialize)]
struct Readyz {
    ready: bool,
    reason: Option<String>,
}

fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with(Problem::MEDIA_TYPE))
}

fn unexpected(status: StatusCode) -> String {
    if status.is_redirection() {
        return format!("status {status}, and redirects are not followed");
    }
    format!("status {status} without a reason")
}

/// The most bytes of an answer that are read: 500 nodes, each with all the facts it may have.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
