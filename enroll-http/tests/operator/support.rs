//! A master with an operator of each role, and machines that become its members.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use enroll_core::issue::x509::Authority;
use enroll_core::master::{BuiltinFuser, Enroller, FuseCommands, InUse, MasterConfig, Verdict};
use enroll_core::model::{
    AdminToken, Clock, CommandClass, EnrollRequest, Facts, Host, NodeName, NodeRecord, Origin,
    Presented, Reason, Role, SystemClock, SystemEntropy, Timestamp, TrustDomain,
};
use enroll_core::store::{Beat, MemoryStore, Nodes as _, Store};
use enroll_core::testing::{FixedClock, FlakyStore};
use enroll_http::server::{OperatorOptions, operator_router};
use enroll_http::tls::{ClientTls, HttpOptions, PinnedVerifier, http_client};
use http::{HeaderMap, Method, StatusCode};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tokio::sync::Notify;

use crate::common::schema::assert_documented;
use crate::common::{Running, soon};

pub(crate) const URL: &str = "https://192.0.2.1:7480";
pub(crate) const STEADY: &str = "192.0.2.1:7481";
/// Where an embedder mounts the API, in tests that do.
pub(crate) const MOUNT: &str = "/fleets/a";
pub(crate) const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

pub(crate) struct Master {
    pub(crate) enroller: Arc<Enroller>,
    pub(crate) store: Arc<FlakyStore<MemoryStore>>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) running: Running,
    pub(crate) busy: Arc<Busy>,
    tokens: Vec<(Role, AdminToken)>,
    http: reqwest::Client,
}

/// What the master said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The text as JSON, null where it is none.
    pub(crate) json: Value,
}

/// Keeps every node in use whose name begins with "busy", and takes its time with those that begin
/// with "slow".
#[derive(Default)]
pub(crate) struct Busy {
    pub(crate) asked: Notify,
    pub(crate) answer: Notify,
}

#[async_trait]
impl InUse for Busy {
    async fn reason(&self, node: &NodeRecord) -> Option<String> {
        if node.name.as_str().starts_with("slow") {
            self.asked.notify_one();
            self.answer.notified().await;
        }
        node.name.as_str().starts_with("busy").then(|| format!("{} runs 3 machines.", node.name))
    }
}

impl Master {
    pub(crate) async fn start() -> Self {
        Self::start_with(OperatorOptions::new(), |config| config, |router| router).await
    }

    /// Starts a master whose enrollers, options and router are set up otherwise.
    pub(crate) async fn start_with(
        options: OperatorOptions,
        configure: impl FnOnce(MasterConfig) -> MasterConfig,
        mount: impl FnOnce(Router) -> Router,
    ) -> Self {
        let clock = Arc::new(FixedClock::at(SystemClock::new().now()));
        let entropy = SystemEntropy::new();
        let authority = Authority::in_memory(&TrustDomain::default(), clock.now(), &entropy);
        let authority = Arc::new(authority.unwrap());
        let store = Arc::new(FlakyStore::new(MemoryStore::new()));
        let commands = FuseCommands::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let fuser = BuiltinFuser::new(commands);
        let mut config = MasterConfig::default();
        config.enroll_url = Some(URL.into());
        config.steady_addr = Some(STEADY.into());
        config.hosts = vec![Host::new("master.example").unwrap()];
        let busy = Arc::new(Busy::default());
        let enroller = Enroller::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&authority))
            .with_config(configure(config))
            .with_clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .with_fuser(Arc::new(fuser), Duration::from_secs(300))
            .with_in_use_guard(Arc::clone(&busy) as Arc<dyn InUse>)
            .with_command("ping", CommandClass::Monitor)
            .with_command("restart", CommandClass::Control);
        let mut tokens = Vec::new();
        for role in Role::ALL {
            tokens.push((*role, enroller.add_admin(role.as_str(), *role, "setup").await.unwrap()));
        }
        let enroller = Arc::new(enroller);
        let router = mount(operator_router(Arc::clone(&enroller), options));
        let running = Running::start(router, |listener| listener).await;
        let tls = ClientTls::new(Arc::new(PinnedVerifier::new([]))).config().unwrap();
        let http = http_client(tls, &HttpOptions::new().danger_allow_plaintext()).unwrap();
        Self { enroller, store, clock, authority, running, busy, tokens, http }
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        self.tokens.iter().find(|(of, _)| *of == role).unwrap().1.expose()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Some(self.token(Role::Admin)), "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(self.token(Role::Admin)), &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, Some(self.token(Role::Admin)), "").await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: &str,
    ) -> Answer {
        let name = method.clone();
        let mut request = self.http.request(method, self.running.url("http", path));
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let response = soon(request.body(body.to_owned()).send()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = soon(response.text()).await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        let called = path.strip_prefix(MOUNT).unwrap_or(path).split('?').next().unwrap();
        assert_documented(name.as_str(), called, status.as_u16(), &json);
        Answer { status, headers, text, json }
    }

    /// Registers `name` and lets a machine take it.
    pub(crate) async fn enroll(&self, name: &str) -> NodeRecord {
        let token = self.post("/v1/nodes", serde_json::json!({ "name": name })).await;
        let verdict = self.present(token.json["token"].as_str().unwrap(), name).await;
        let Verdict::Admitted(admission) = verdict else { panic!("refused: {verdict:?}") };
        admission.node
    }

    /// Presents a token under a name, with a key of its own.
    pub(crate) async fn present(&self, token: &str, name: &str) -> Verdict {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let presented = Presented::from_parts(Some(token.to_owned()), None).unwrap();
        let facts = Facts {
            arch: Some("x86_64".into()),
            labels: [("zone".into(), "theirs".into()), ("rack".into(), "7".into())].into(),
            ..Facts::default()
        };
        let request = EnrollRequest::new(presented)
            .with_node_name(NodeName::new(name).unwrap())
            .with_csr(csr)
            .with_facts(facts);
        self.enroller.enroll(request, Origin::from_ip(FROM)).await.unwrap()
    }

    /// A heartbeat of `node`, now.
    pub(crate) async fn beat(&self, node: &NodeRecord) -> Timestamp {
        let at = self.clock.now();
        let beat = Beat { node_id: node.id, at, facts: None };
        self.store.record_beats(vec![beat]).await.unwrap();
        at
    }

    pub(crate) fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// An error of this status and code, as a problem document.
    #[track_caller]
    pub(crate) fn error(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!((&answer.json["code"], &answer.json["status"]), (&code.into(), &status.into()));
        answer
    }

    pub(crate) fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap()
    }

    /// The member `member` of each row of a list.
    #[track_caller]
    pub(crate) fn column(&self, member: &str) -> Vec<String> {
        let rows = self.json["items"].as_array().unwrap();
        rows.iter().map(|row| row[member].as_str().unwrap().to_owned()).collect()
    }
}

#[track_caller]
pub(crate) fn refused(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Refused(rejection) => rejection.reason(),
        other => panic!("not refused: {other:?}"),
    }
}

/// The names of the members of an object, sorted.
pub(crate) fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
