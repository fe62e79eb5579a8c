//! A master in this process, behind real listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use enroll_core::issue::x509::Authority;
use enroll_core::issue::{ApiKeyIssuer, Issuer};
use enroll_core::master::{Enroller, MasterConfig, MintRequest, Observer, Verdict};
use enroll_core::model::{
    Clock, EnrollRequest, JoinToken, NodeName, Origin, Presented, SystemClock, SystemEntropy,
    Timestamp, TrustDomain,
};
use enroll_core::store::{MemoryStore, Store};
use enroll_core::testing::FlakyStore;
use enroll_http::metrics::Metrics;
use enroll_http::server::{
    AddressLimiter, EnrollOptions, Listener, SteadyOptions, enroll_router, steady_router,
};
use enroll_http::tls::{CertSlot, ClientAuth, ServerTls, TlsIdentity};
use tokio::net::TcpListener;

use crate::harness::{Api, Machine, Said};

/// What an embedder decides.
pub(crate) struct Plan {
    pub(crate) attempts_per_minute: u32,
    pub(crate) issuers: Vec<Arc<dyn Issuer>>,
    /// Whether certificates are issued too.
    pub(crate) x509: bool,
    pub(crate) with: Box<dyn FnOnce(Enroller) -> Enroller + Send>,
    pub(crate) path: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            attempts_per_minute: 0,
            issuers: vec![Arc::new(ApiKeyIssuer::default())],
            x509: false,
            with: Box::new(|enroller| enroller),
            path: EnrollOptions::PATH,
        }
    }
}

/// A master that is being served.
pub(crate) struct Built {
    pub(crate) enroller: Arc<Enroller>,
    pub(crate) store: Arc<FlakyStore<MemoryStore>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<Shifted>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) url: String,
}

/// The system's clock, shown so many milliseconds later.
#[derive(Default)]
pub(crate) struct Shifted(AtomicI64);

impl Shifted {
    /// Shows the system's time and `millis` more from now on.
    pub(crate) fn by(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let now = SystemClock::new().now().unix_millis();
        Timestamp::from_unix_millis(now + self.0.load(Ordering::SeqCst))
    }
}

impl Built {
    pub(crate) async fn start(plan: Plan) -> Self {
        let (clock, entropy) = (Arc::new(Shifted::default()), SystemEntropy::new());
        let authority = Authority::in_memory(&TrustDomain::default(), clock.now(), &entropy);
        let authority = Arc::new(authority.expect("an authority"));
        let (enroll, steady) = (port().await, port().await);
        let mut config = MasterConfig::default();
        config.steady_addr = Some(address(&steady).to_string());
        let store = Arc::new(FlakyStore::new(MemoryStore::new()));
        let metrics = Arc::new(Metrics::new());
        let mut enroller =
            Enroller::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&authority));
        if !plan.x509 {
            enroller = enroller.issuing(plan.issuers);
        } else if !plan.issuers.is_empty() {
            let own = enroll_core::issue::x509::X509Issuer::new(Arc::clone(&authority));
            let mut issuers: Vec<Arc<dyn Issuer>> = vec![Arc::new(own)];
            issuers.extend(plan.issuers);
            enroller = enroller.issuing(issuers);
        }
        let enroller = enroller
            .with_config(config)
            .with_clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .with_observer(Arc::clone(&metrics) as Arc<dyn Observer>);
        let enroller = Arc::new((plan.with)(enroller));
        let limiter = Arc::new(AddressLimiter::new(plan.attempts_per_minute));
        let options = EnrollOptions::new().with_limiter(Arc::clone(&limiter)).with_path(plan.path);
        let router = enroll_router(Arc::clone(&enroller), options.expect("a path"));
        let url = format!("https://{}", address(&enroll));
        serve(&authority, enroll, router, ClientAuth::Off);
        let options = SteadyOptions::new().with_limiter(limiter);
        let router = steady_router(Arc::clone(&enroller), options);
        let roots = vec![authority.root().clone()];
        serve(&authority, steady, router, ClientAuth::Optional { roots });
        Self { enroller, store, metrics, clock, authority, url }
    }

    /// A client that trusts its root.
    pub(crate) fn api(&self) -> Api {
        let (pem, _) = self.enroller.ca().expect("it has a root");
        Api::new(&self.url, pem, None)
    }

    pub(crate) async fn mint(&self, wish: MintRequest) -> JoinToken {
        self.enroller.mint(wish, "admin").await.expect("a token").token
    }

    /// Has a machine enroll with `token`, whatever comes of it.
    pub(crate) async fn enroll(&self, token: &JoinToken, name: &str) -> Verdict {
        let request = EnrollRequest::new(presented(token)).with_node_name(self::name(name));
        self.enroller.enroll(request, Origin::default()).await.expect("a verdict")
    }

    /// How often a line of the metrics was counted.
    pub(crate) fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{series} in {text}"))
    }

    /// Runs the real worker's `bootstrap` against it.
    pub(crate) async fn bootstrap(&self, proofs: Proofs, name: &str, retry_secs: &str) -> Said {
        let pin = self.authority.fingerprint().to_string();
        let mut args = vec!["bootstrap".to_owned()];
        let given = [
            ("--master-url", &self.url),
            ("--ca-fingerprint", &pin),
            ("--node-name", &name.to_owned()),
            ("--retry-secs", &retry_secs.to_owned()),
        ];
        args.extend(given.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.clone()]));
        let run = move || {
            let machine = Machine::new();
            for (flag, file, text) in [
                ("--token-path", "token", proofs.token),
                ("--shared-secret-path", "secret", proofs.secret),
            ] {
                args.extend(text.into_iter().flat_map(|it| [flag.into(), machine.put(file, &it)]));
            }
            machine.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        tokio::task::spawn_blocking(run).await.expect("the worker was run")
    }
}

/// What a machine presents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proofs {
    pub(crate) token: Option<String>,
    pub(crate) secret: Option<String>,
}

impl From<&JoinToken> for Proofs {
    fn from(token: &JoinToken) -> Self {
        Self { token: Some(token.expose().to_owned()), secret: None }
    }
}

pub(crate) fn presented(token: &JoinToken) -> Presented {
    Presented::from_parts(Some(token.expose().to_owned()), None).expect("a token")
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

async fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

fn address(tcp: &TcpListener) -> SocketAddr {
    tcp.local_addr().expect("it is bound")
}

/// Serves until the test ends.
fn serve(authority: &Authority, tcp: TcpListener, router: Router, clients: ClientAuth) {
    let (at, entropy) = (SystemClock::new().now(), SystemEntropy::new());
    let issued = authority.issue_master(&[], at, &entropy).expect("a certificate");
    let slot = Arc::new(CertSlot::new(TlsIdentity::of_master(&issued).expect("a pair")));
    let tls = ServerTls::new(slot).with_client_auth(clients).config().expect("a configuration");
    tokio::spawn(Listener::new(tcp, router).with_tls(tls).serve(std::future::pending()));
}
