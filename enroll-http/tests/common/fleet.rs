//! A master in memory behind real listeners, with a clock that a test sets, and machines that call.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use enroll_core::issue::x509::{Authority, PeerLeaf, X509Issuer};
use enroll_core::issue::{ApiKeyIssuer, Issuer};
use enroll_core::master::{Enroller, MintRequest};
use enroll_core::model::{Clock, JoinToken, NodeName, SystemEntropy, Timestamp, TrustDomain};
use enroll_core::store::MemoryStore;
use enroll_core::testing::{FixedClock, FlakyStore};
use enroll_http::server::{
    AddressLimiter, EnrollOptions, Listener, SteadyOptions, enroll_router, steady_router,
};
use enroll_http::tls::{
    CertSlot, ClientAuth, ClientTls, HttpOptions, PinnedVerifier, ServerTls, TlsIdentity,
    http_client,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
use serde_json::{Value, json};

use super::Running;
use super::schema::assert_fits;

pub const START: Timestamp = Timestamp::from_unix_secs(1_800_000_000);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a fleet is to differ from the plainest.
pub struct Setup {
    pub api_keys: bool,
    pub limiter: AddressLimiter,
    pub master: Box<dyn FnOnce(Enroller) -> Enroller + Send>,
    pub options: Box<dyn FnOnce(EnrollOptions) -> EnrollOptions + Send>,
    pub extra_issuers: Vec<Arc<dyn Issuer>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            api_keys: false,
            limiter: AddressLimiter::new(0),
            master: Box::new(|enroller| enroller),
            options: Box::new(|options| options),
            extra_issuers: Vec::new(),
        }
    }
}

pub struct Fleet {
    pub clock: Arc<FixedClock>,
    pub authority: Arc<Authority>,
    pub store: Arc<FlakyStore<MemoryStore>>,
    pub enroller: Arc<Enroller>,
    pub enroll: Running,
    pub steady: Running,
}

impl Fleet {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let authority =
            Authority::in_memory(&TrustDomain::default(), START, &SystemEntropy::new()).unwrap();
        let authority = Arc::new(authority);
        let mut issuers: Vec<Arc<dyn Issuer>> =
            vec![Arc::new(X509Issuer::new(Arc::clone(&authority)))];
        if setup.api_keys {
            issuers.push(Arc::new(ApiKeyIssuer::default()));
        }
        issuers.extend(setup.extra_issuers);
        let store = Arc::new(FlakyStore::new(MemoryStore::new()));
        let enroller = Enroller::new(Arc::clone(&store) as _, Arc::clone(&authority))
            .issuing(issuers)
            .with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let enroller = Arc::new((setup.master)(enroller));
        let limiter = Arc::new(setup.limiter);
        let options = (setup.options)(EnrollOptions::new().with_limiter(Arc::clone(&limiter)));
        let enroll = enroll_router(Arc::clone(&enroller), options);
        let options = SteadyOptions::new().with_limiter(limiter);
        let steady = steady_router(Arc::clone(&enroller), options);
        Self {
            enroll: serve(&authority, &clock, enroll, ClientAuth::Off, |listener| listener).await,
            steady: serve_members(&authority, &clock, steady, Listener::with_http2).await,
            clock,
            authority,
            store,
            enroller,
        }
    }

    pub async fn mint(&self, wish: MintRequest) -> JoinToken {
        self.enroller.mint(wish, "admin").await.unwrap().token
    }

    pub async fn mint_one_shot(&self) -> JoinToken {
        self.mint(MintRequest::new().with_max_uses(1)).await
    }

    /// A client that knows the root by its fingerprint and has no identity.
    pub fn stranger(&self) -> Client {
        self.client(None)
    }

    /// The client of a machine, with the certificate it was given.
    pub fn member(&self, machine: &Machine, certificate: &str) -> Client {
        self.client(Some(machine.identity(certificate)))
    }

    pub fn client(&self, identity: Option<TlsIdentity>) -> Client {
        let tls = self.tls(identity).config().unwrap();
        Client {
            http: http_client(tls, &HttpOptions::new()).unwrap(),
            enroll: self.enroll.url("https", ""),
            steady: self.steady.url("https", ""),
        }
    }

    /// TLS as a worker of this fleet speaks it.
    pub fn tls(&self, identity: Option<TlsIdentity>) -> ClientTls {
        let pinned = PinnedVerifier::new([self.authority.fingerprint()]);
        let tls =
            ClientTls::new(Arc::new(pinned)).with_clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        match identity {
            Some(identity) => tls.with_identity(Arc::new(CertSlot::new(identity))),
            None => tls,
        }
    }

    /// A machine that is a member already, with its certificate and the whole answer.
    pub async fn enrolled(&self, name: &str) -> (Machine, String, Value) {
        let machine = Machine::new();
        let token = self.mint_one_shot().await;
        let answer = self.stranger().enroll(&machine.request(&token, name)).await;
        answer.assert_ok("EnrollAnswer");
        let certificate = answer.certificate();
        (machine, certificate, answer.body)
    }
}

/// A listener for members of `authority`, as `with` sets it up.
pub async fn serve_members(
    authority: &Authority,
    clock: &Arc<FixedClock>,
    router: Router,
    with: impl FnOnce(Listener) -> Listener,
) -> Running {
    let members = ClientAuth::Optional { roots: vec![authority.root().clone()] };
    serve(authority, clock, router, members, with).await
}

async fn serve(
    authority: &Authority,
    clock: &Arc<FixedClock>,
    router: Router,
    clients: ClientAuth,
    with: impl FnOnce(Listener) -> Listener,
) -> Running {
    let master = authority.issue_master(&[], START, &SystemEntropy::new()).unwrap();
    let identity = TlsIdentity::of_master(&master).unwrap();
    let tls = ServerTls::new(Arc::new(CertSlot::new(identity)))
        .with_client_auth(clients)
        .with_clock(Arc::clone(clock) as Arc<dyn Clock>);
    Running::start(router, |listener| with(listener.with_tls(tls.config().unwrap()))).await
}

pub struct Machine {
    pub key: KeyPair,
}

impl Machine {
    pub fn new() -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap() }
    }

    pub fn identity(&self, certificate: &str) -> TlsIdentity {
        let key = self.key.serialize_pem();
        TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    pub fn csr(&self) -> String {
        CertificateParams::default().serialize_request(&self.key).unwrap().pem().unwrap()
    }

    pub fn request(&self, token: &JoinToken, name: &str) -> Value {
        json!({"token": token.expose(), "node_name": name, "csr": self.csr()})
    }
}

pub struct Client {
    pub http: reqwest::Client,
    enroll: String,
    steady: String,
}

impl Client {
    pub async fn enroll(&self, body: &Value) -> Answer {
        self.raw(body.to_string()).await
    }

    /// Sends anything at all to enroll.
    pub async fn raw(&self, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.post(format!("{}/v1/enroll", self.enroll)).body(body);
        Answer::of(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.http.get(format!("{}{path}", self.enroll))).await
    }

    pub fn steady(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.steady))
    }

    pub async fn post_steady(&self, path: &str, body: &Value) -> Answer {
        let request = self.steady(reqwest::Method::POST, path).body(body.to_string());
        Answer::of(request).await
    }

    pub async fn get_steady(&self, path: &str) -> Answer {
        Answer::of(self.steady(reqwest::Method::GET, path)).await
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// `null` where the answer is no JSON.
    pub body: Value,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = super::soon(request.send()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = super::soon(response.text()).await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    /// That it is a success, and what the OpenAPI document calls `schema`.
    #[track_caller]
    pub fn assert_ok(&self, schema: &str) {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_fits(schema, &self.body);
    }

    /// The chain of the first credential.
    #[track_caller]
    pub fn certificate(&self) -> String {
        let first = &self.body["credentials"][0];
        assert_eq!(first["kind"], "x509", "{}", self.text);
        first["certificate"].as_str().unwrap().to_owned()
    }

    /// The API key, wherever it stands.
    #[track_caller]
    pub fn api_key(&self) -> String {
        let credentials = self.body["credentials"].as_array().unwrap();
        let key = credentials.iter().find(|credential| credential["kind"] == "api_key").unwrap();
        key["key"].as_str().unwrap().to_owned()
    }

    /// That it is a problem of the contract, whole and in one piece.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status);
        assert_fits("Problem", &self.body);
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|s| !s.is_empty()), "{}", self.text);
        }
        let wait = self.body.get("retry_after_secs").map(Value::to_string);
        assert_eq!(self.header("retry-after"), wait.as_deref(), "{}", self.text);
    }

    /// That nobody is known by what was presented.
    #[track_caller]
    pub fn assert_unauthorized(&self) {
        self.assert_problem(401);
        assert_eq!(self.body["code"], "unauthorized");
        assert_eq!(self.header("www-authenticate"), Some("Bearer"));
    }
}

/// The first certificate of a PEM chain.
pub fn leaf(chain: &str) -> PeerLeaf {
    let end = "-----END CERTIFICATE-----\n";
    let first = chain.split_inclusive(end).next().unwrap();
    PeerLeaf::from_pem(first).unwrap()
}

pub fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}
