//! Headscale's calls, through one funnel.

use std::future::Future;
use std::sync::{MutexGuard, PoisonError};

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::body::{Key, Keys, Trouble, Users};
use super::error::HeadscaleError;
use super::options::Headscale;

type Body = Zeroizing<Vec<u8>>;

impl Headscale {
    pub(super) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> RequestBuilder {
        self.http.request(method, self.url(path, query))
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        // A URL of the web always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The value that a successful answer holds.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, HeadscaleError> {
        let body = self.success(request).await?;
        // The parser's own words may quote what it could not read, which may be a key.
        serde_json::from_slice(&body).map_err(|_| HeadscaleError::Malformed("its JSON is another"))
    }

    /// What `calls` come to within the deadline of one, the wait for their turns included: whoever
    /// waits for them waits for them all.
    pub(super) async fn in_time<T>(
        &self,
        calls: impl Future<Output = Result<T, HeadscaleError>> + Send,
    ) -> Result<T, HeadscaleError> {
        timeout(self.options.deadline, calls).await.unwrap_or(Err(HeadscaleError::Busy))
    }

    /// The body of a successful answer, within one deadline from the wait for a turn to its last byte.
    pub(super) async fn success(&self, request: RequestBuilder) -> Result<Body, HeadscaleError> {
        let call = async {
            // The semaphore is never closed.
            let _turn = self.slots.acquire().await.map_err(|_| HeadscaleError::Busy)?;
            let request = request.header(AUTHORIZATION, self.authorization.clone());
            let response = request.send().await.map_err(unreachable)?;
            let status = response.status();
            let body = read(response).await?;
            judge(status, body)
        };
        self.in_time(call).await
    }

    /// The id of the user that keys belong to; `None` where they belong to tags alone. Asked for once,
    /// or by each of those who ask before the answer is there: nobody waits for another's call.
    pub(super) async fn owner(&self) -> Result<Option<String>, HeadscaleError> {
        let Some(name) = &self.options.user else { return Ok(None) };
        if let Some(known) = self.known_owner().clone() {
            return Ok(Some(known));
        }
        let users: Users =
            self.json(self.request(Method::GET, &["user"], &[("name", name)])).await?;
        let user = users.users.into_iter().find(|user| user.name == *name);
        let id = user.ok_or_else(|| HeadscaleError::NoUser(name.clone()))?.id;
        *self.known_owner() = Some(id.clone());
        Ok(Some(id))
    }

    /// Asks for the user again next time: it may have been made anew, under another id.
    pub(super) fn forget_owner(&self) {
        *self.known_owner() = None;
    }

    fn known_owner(&self) -> MutexGuard<'_, Option<String>> {
        self.user_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys there are. Before 0.28 they are asked for by user; later versions pass that over.
    pub(super) async fn keys(&self) -> Result<Vec<Key>, HeadscaleError> {
        let calls = async {
            let owner = self.owner().await?;
            let query: Vec<_> = owner.iter().map(|id| ("user", id.as_str())).collect();
            self.json(self.request(Method::GET, &["preauthkey"], &query)).await
        };
        let keys: Keys = self.in_time(calls).await?;
        Ok(keys.pre_auth_keys)
    }
}

async fn read(mut response: Response) -> Result<Body, HeadscaleError> {
    let mut body = Zeroizing::new(Vec::with_capacity(SMALL_ANSWER));
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(HeadscaleError::Malformed("more than 64 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn judge(status: StatusCode, body: Body) -> Result<Body, HeadscaleError> {
    match status {
        status if status.is_success() => Ok(body),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(HeadscaleError::Unauthorized),
        status => {
            let said: Trouble = serde_json::from_slice(&body).unwrap_or_default();
            let message = said.message.or(said.detail).unwrap_or_default();
            let message = message.chars().take(MAX_MESSAGE).collect();
            Err(HeadscaleError::Refused { status: status.as_u16(), message })
        }
    }
}

fn unreachable(error: reqwest::Error) -> HeadscaleError {
    HeadscaleError::Unreachable(Box::new(error.without_url()))
}

/// Room for the answer that holds a key, so that growing leaves no copy of it behind.
const SMALL_ANSWER: usize = 16 * 1024;
/// The most bytes of an answer that are read: some hundred thousand machines.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The most characters of a message that are logged.
const MAX_MESSAGE: usize = 200;
