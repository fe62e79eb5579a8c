//! Calls to Portainer: each ends by a deadline, none follows a redirect.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use reqwest::multipart::Form;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::api::{CREATE_EDGE_AGENT, Endpoint, SystemStatus};
use super::trouble::{Trouble, away};
use crate::client::ClientError;
use crate::tls::{HttpOptions, TlsError, WebRoots, http_client};
use crate::wire::SecretText;

/// How Portainer is reached, and what its agents are told.
///
/// # Defaults
/// - **Agents call the same URL** as the master; [`with_agents_url`](Self::with_agents_url) tells them
///   another.
/// - **Portainer's certificate has to be good** by the authorities of this machine, for its host name.
/// - **Agents verify it too.**
/// - A call ends after [`REQUEST`](Self::REQUEST): the watchdog waits for none longer than that.
/// - Plain HTTP is refused: the API key goes out in every request.
#[derive(Debug, Clone)]
pub struct PortainerOptions {
    url: String,
    agents_url: Option<String>,
    roots: WebRoots,
    http: HttpOptions,
    insecure_poll: bool,
}

impl PortainerOptions {
    /// When a call is given up.
    pub const REQUEST: Duration = Duration::from_secs(5);

    /// A Portainer at `url`, e.g. `https://portainer.example:9443`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            agents_url: None,
            roots: WebRoots::System,
            http: HttpOptions::new(),
            insecure_poll: false,
        }
        .with_request_timeout(Self::REQUEST)
    }

    /// Where agents call Portainer, if not where the master does.
    #[must_use]
    pub fn with_agents_url(mut self, url: impl Into<String>) -> Self {
        self.agents_url = Some(url.into());
        self
    }

    /// Whose certificate for Portainer is good.
    #[must_use]
    pub fn with_roots(mut self, roots: WebRoots) -> Self {
        self.roots = roots;
        self
    }

    /// When a call is given up.
    #[must_use]
    pub const fn with_request_timeout(mut self, request: Duration) -> Self {
        self.http = self.http.with_connect_timeout(request).with_request_timeout(request);
        self
    }

    /// Lets `http://` URLs through: the API key then crosses the network in clear.
    #[must_use]
    pub const fn danger_allow_plaintext(mut self) -> Self {
        self.http = self.http.danger_allow_plaintext();
        self
    }

    /// Tells agents not to verify Portainer's certificate.
    #[must_use]
    pub const fn danger_insecure_poll(mut self) -> Self {
        self.insecure_poll = true;
        self
    }
}

/// What keeps a client of Portainer from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortainerSetupError {
    /// A URL is none, or not one that is allowed.
    #[error("the URL of Portainer cannot be used")]
    Url(#[source] ClientError),
    /// The API key is empty, or holds a character that no key has.
    #[error("the API key of Portainer is empty, or is not one line of plain characters")]
    ApiKey,
    /// TLS cannot be set up: no root that can be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Portainer, as an administrator's API key reaches it.
pub struct PortainerClient {
    client: Client,
    base: Url,
    agents_url: String,
    key: HeaderValue,
    insecure_poll: bool,
}

impl PortainerClient {
    /// A client that authenticates by `key`.
    ///
    /// # Errors
    /// [`PortainerSetupError`]; nothing is sent yet.
    pub fn new(options: &PortainerOptions, key: &SecretText) -> Result<Self, PortainerSetupError> {
        let url = |text: &str| crate::client::base(text).map_err(PortainerSetupError::Url);
        let base = url(&options.url)?;
        if base.scheme() != "https" && !options.http.allows_plaintext() {
            return Err(PortainerSetupError::Url(ClientError::Plaintext));
        }
        let agents_url = options.agents_url.as_ref().unwrap_or(&options.url);
        let agents_url = url(agents_url)?.as_str().trim_end_matches('/').to_owned();
        let mut value =
            HeaderValue::try_from(key.expose()).map_err(|_| PortainerSetupError::ApiKey)?;
        if value.is_empty() {
            return Err(PortainerSetupError::ApiKey);
        }
        value.set_sensitive(true);
        let client = http_client(options.roots.client()?, &options.http)?;
        let insecure_poll = options.insecure_poll;
        Ok(Self { client, base, agents_url, key: value, insecure_poll })
    }

    /// Whether agents are told not to verify Portainer's certificate.
    pub(super) const fn insecure_poll(&self) -> bool {
        self.insecure_poll
    }

    /// The endpoint of this name, made if there is none. Safe to call again, also after an answer
    /// that was lost.
    pub(super) async fn ensure(&self, name: &str) -> Result<Endpoint, Trouble> {
        if let Some(endpoint) = self.find(name).await? {
            return Ok(endpoint);
        }
        let trouble = match self.create(name).await {
            Ok(endpoint) => return Ok(endpoint),
            Err(trouble) => trouble,
        };
        if !trouble.may_pass() && !trouble.is(StatusCode::CONFLICT) {
            return Err(trouble);
        }
        // It may have been made all the same, or be in the making still.
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            if let Ok(Some(endpoint)) = self.find(name).await {
                return Ok(endpoint);
            }
        }
        Err(trouble)
    }

    /// The endpoint of this name.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Endpoint>, Trouble> {
        let mut url = self.at("api/endpoints");
        url.query_pairs_mut().append_pair("name", name).append_pair("excludeSnapshots", "true");
        // A Portainer that does not know the filter lists them all.
        let all: Vec<Endpoint> =
            self.json("GET /api/endpoints", self.call(Method::GET, url)).await?;
        match all.into_iter().find(|endpoint| endpoint.name == name) {
            Some(endpoint) if !endpoint.is_edge() => Err(Trouble::Foreign),
            found => Ok(found),
        }
    }

    async fn create(&self, name: &str) -> Result<Endpoint, Trouble> {
        let form = Form::new()
            .text("Name", name.to_owned())
            .text("EndpointCreationType", CREATE_EDGE_AGENT)
            .text("URL", self.agents_url.clone());
        let call = self.call(Method::POST, self.at("api/endpoints")).multipart(form);
        self.json("POST /api/endpoints", call).await
    }

    /// The endpoint of this id.
    pub(super) async fn endpoint(&self, id: u64) -> Result<Endpoint, Trouble> {
        let call = self.call(Method::GET, self.at(&format!("api/endpoints/{id}")));
        self.json("GET /api/endpoints/{id}", call).await
    }

    /// Deletes the endpoint of this id, if it is there.
    pub(super) async fn delete(&self, id: u64) -> Result<(), Trouble> {
        let call = self.call(Method::DELETE, self.at(&format!("api/endpoints/{id}")));
        match answer("DELETE /api/endpoints/{id}", call).await {
            Err(trouble) if trouble.is(StatusCode::NOT_FOUND) => Ok(()),
            answered => answered.map(drop),
        }
    }

    /// The version of Portainer, which its agents have to have too.
    pub(super) async fn version(&self) -> Result<String, Trouble> {
        let call = self.call(Method::GET, self.at("api/system/status"));
        let status: SystemStatus = self.json("GET /api/system/status", call).await?;
        Ok(status.version)
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        // The base ends with a slash, and none of the paths has to be escaped.
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    fn call(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).header("X-API-Key", self.key.clone())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<T, Trouble> {
        let response = answer(call, request).await?;
        let body = whole(call, response).await?;
        let why = "it is not the JSON that was expected";
        serde_json::from_slice(&body).map_err(|_| Trouble::Malformed { call, why })
    }
}

impl fmt::Debug for PortainerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortainerClient")
            .field("base", &self.base.as_str())
            .field("agents_url", &self.agents_url)
            .finish_non_exhaustive()
    }
}

async fn answer(call: &'static str, request: RequestBuilder) -> Result<Response, Trouble> {
    let response = request.send().await.map_err(|error| away(call, &error))?;
    match response.status() {
        status if status.is_success() => Ok(response),
        status => Err(Trouble::Refused { call, status }),
    }
}

/// The body, which may hold an Edge key.
async fn whole(call: &'static str, mut response: Response) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| away(call, &error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Trouble::Malformed { call, why: "it is longer than 16 MiB" });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The pauses before each look for what a call may have made all the same.
const LOOKS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];
/// A list of thousands of endpoints, where Portainer does not know the filter.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SecretText {
        SecretText::new(text)
    }

    #[test]
    fn neither_the_client_nor_its_errors_show_the_key() {
        let options = PortainerOptions::new("http://portainer:9000").danger_allow_plaintext();
        let client = PortainerClient::new(&options, &key("ptr_s3cret")).unwrap();
        assert!(!format!("{client:?}").contains("s3cret"), "{client:?}");
        for bad in ["", "ptr_s3cret\nx"] {
            let error = PortainerClient::new(&options, &key(bad)).unwrap_err();
            assert!(matches!(error, PortainerSetupError::ApiKey));
            assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn urls_are_judged_before_anything_is_sent() {
        let made = |options: &PortainerOptions| PortainerClient::new(options, &key("ptr_x"));
        let plain = PortainerOptions::new("http://portainer:9000");
        let refused = made(&plain).unwrap_err();
        assert!(matches!(refused, PortainerSetupError::Url(ClientError::Plaintext)));
        let plain = plain.danger_allow_plaintext();
        assert!(made(&plain.clone().with_agents_url("portainer")).is_err());
        let client = made(&plain.with_agents_url("https://portainer.example:9443/")).unwrap();
        assert_eq!(client.agents_url, "https://portainer.example:9443");
        let below = PortainerOptions::new("http://h/portainer").danger_allow_plaintext();
        let url = made(&below).unwrap().at("api/endpoints");
        assert_eq!(url.as_str(), "http://h/portainer/api/endpoints");
    }
}
