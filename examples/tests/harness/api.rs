//! A plain HTTP client that trusts one master.

use std::sync::Arc;

use enroll_core::issue::x509::RootCertificate;
use enroll_http::tls::{ClientTls, HttpOptions, RootVerifier, http_client};
use serde_json::Value;

/// Calls of a test over HTTP.
pub(crate) struct Api {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    /// JSON where it is some, else the text.
    pub(crate) body: Value,
}

impl Api {
    /// Calls `base`, trusting the root in `ca` alone.
    pub(crate) fn new(base: &str, ca: &str, token: Option<&str>) -> Self {
        let root = RootCertificate::from_pem(ca).expect("a root");
        let verifier = Arc::new(RootVerifier::master(&root).expect("a root to trust"));
        let tls = ClientTls::new(verifier).config().expect("a configuration");
        let options = HttpOptions::new().danger_allow_plaintext();
        let client = http_client(tls, &options).expect("a client");
        Self { token: token.map(str::to_owned), ..Self::with_client(base, client) }
    }

    /// Calls `base` as `client` does.
    pub(crate) fn with_client(base: &str, client: reqwest::Client) -> Self {
        Self { base: base.to_owned(), token: None, client }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.client.delete(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.client.post(format!("{}{path}", self.base)).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.client.put(format!("{}{path}", self.base)).json(body)).await
    }

    /// As [`Self::post`], where there may be nobody.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.try_send(self.client.post(format!("{}{path}", self.base)).json(body)).await.ok()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let content_type = header("content-type").unwrap_or_default();
        let retry_after = header("retry-after");
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, content_type, retry_after, body })
    }
}
