//! One call of the operator API.

use std::sync::Arc;

use enroll_core::issue::x509::RootCertificate;
use enroll_http::tls::{
    ClientTls, HttpOptions, RootVerifier, TlsError, TlsRefusal, http_client, tls_refusal,
};
use enroll_http::wire::Problem;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::output::Output;

/// Calls one master as one operator.
pub(super) struct Caller {
    base: Url,
    client: Client,
    token: Zeroizing<String>,
    pub(super) output: Output,
}

/// A call to be made.
pub(super) struct Call {
    request: RequestBuilder,
}

/// What the master answered; it may hold a secret.
pub(super) struct Body(Zeroizing<String>);

impl Caller {
    /// Trusts the master under `root` alone: not whom a name service leads to, nor another member.
    pub(super) fn new(
        base: Url,
        root: &RootCertificate,
        token: Zeroizing<String>,
        output: Output,
    ) -> Result<Self, Failure> {
        let client = client(root).map_err(|cause| {
            Failure::new("no connection to the master can be configured").because(cause)
        })?;
        Ok(Self { base, client, token, output })
    }

    pub(super) fn get(&self, path: &[&str]) -> Call {
        self.call(Method::GET, path)
    }

    pub(super) fn post(&self, path: &[&str]) -> Call {
        self.call(Method::POST, path)
    }

    pub(super) fn put(&self, path: &[&str]) -> Call {
        self.call(Method::PUT, path)
    }

    pub(super) fn delete(&self, path: &[&str]) -> Call {
        self.call(Method::DELETE, path)
    }

    fn call(&self, method: Method, path: &[&str]) -> Call {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each is one segment, whatever characters it is made of.
            segments.pop_if_empty().push("v1").extend(path);
        }
        Call { request: self.client.request(method, url).bearer_auth(&*self.token) }
    }
}

impl Call {
    /// With a parameter.
    pub(super) fn with(self, name: &str, value: impl Serialize) -> Self {
        Self { request: self.request.query(&[(name, value)]) }
    }

    /// With a parameter, where there is a value for it.
    pub(super) fn with_some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a JSON body.
    pub(super) fn json(self, body: &impl Serialize) -> Self {
        Self { request: self.request.json(body) }
    }

    /// Makes the call. What is not a success is a failure that says the master's own words.
    pub(super) async fn send(self) -> Result<Body, Failure> {
        let response = self.request.send().await.map_err(unsent)?;
        let status = response.status();
        let is_problem = is_problem(&response);
        let text = Zeroizing::new(response.text().await.map_err(unsent)?);
        if status.is_success() {
            return Ok(Body(text));
        }
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) if is_problem => Err(refused(&problem)),
            _ => Err(stranger(status)),
        }
    }
}

impl Body {
    /// As it came.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As what it means.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.0).map_err(|why| {
            // Its own text may quote the answer, which may hold a token.
            let place = format!("line {}, column {}", why.line(), why.column());
            Failure::new("the master answered something this program does not understand")
                .because(place)
                .next("Use the program of the master's own version, or --output json.")
        })
    }
}

fn client(root: &RootCertificate) -> Result<Client, TlsError> {
    let tls = ClientTls::new(Arc::new(RootVerifier::master(root)?)).with_http2().config()?;
    http_client(tls, &HttpOptions::new())
}

fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with(Problem::MEDIA_TYPE))
}

fn refused(problem: &Problem) -> Failure {
    let failure = Failure::new(problem.detail());
    match problem.hint() {
        Some(hint) => failure.next(hint),
        None => failure,
    }
}

fn stranger(status: StatusCode) -> Failure {
    Failure::new(format!("the answer is {status} without a reason"))
        .next("Something else than the master answers there: look at --operator-url.")
}

/// Tells a peer that is not the master from one that is not there.
fn unsent(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    match tls_refusal(&error) {
        Some(refusal @ (TlsRefusal::NotYetValid | TlsRefusal::Expired)) => {
            Failure::untrusted("the master's certificate is not accepted").because(refusal)
        }
        Some(refusal) => Failure::untrusted("whoever answers is not this master")
            .because(refusal)
            .next("Look at --operator-url, and at --ca-path."),
        None => Failure::unreachable("the master cannot be reached")
            .because(error)
            .next("See whether it runs, and look at --operator-url."),
    }
}
