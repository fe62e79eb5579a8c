//! Certificates, listeners and sockets for tests.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod fleet;
pub mod schema;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::Fingerprint;
use enroll_http::server::{Drained, Listener};
use enroll_http::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use enroll_http::tls::rustls::{self, ClientConfig};
use enroll_http::tls::{CertSlot, TlsIdentity};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration as Span, OffsetDateTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

pub const DOMAIN: &str = "fleet.test";
pub const MASTER: &str = "spiffe://fleet.test/master";
pub const NODE: &str = "spiffe://fleet.test/node/worker-1";

/// The instant the certificates of a test are made around.
pub fn now() -> OffsetDateTime {
    let now = enroll_core::model::Clock::now(&enroll_core::model::SystemClock::new());
    OffsetDateTime::from_unix_timestamp(now.unix_secs()).unwrap()
}

pub struct Ca {
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub fn new(common_name: &str) -> Self {
        let mut params = named(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    pub fn pin(&self) -> Fingerprint {
        Fingerprint::of_der(&self.der)
    }

    pub fn root(&self) -> RootCertificate {
        RootCertificate::from_der(&self.der).unwrap()
    }

    pub fn sign(&self, leaf: Leaf) -> Signed {
        let key = KeyPair::generate().unwrap();
        let der = leaf.0.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Signed { chain: vec![der, self.der.clone()], key }
    }

    /// The certificate of a master, with its root behind it.
    pub fn master(&self) -> Signed {
        self.sign(Leaf::new(&[MASTER]))
    }
}

/// A leaf as a test wants it: valid now, for both ends, unless it says otherwise.
pub struct Leaf(CertificateParams);

impl Leaf {
    pub fn new(uris: &[&str]) -> Self {
        let mut params = named("leaf");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.subject_alt_names.push(SanType::DnsName("worker-1".try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self(params)
    }

    pub fn valid(mut self, from: OffsetDateTime, to: OffsetDateTime) -> Self {
        self.0.not_before = from;
        self.0.not_after = to;
        self
    }

    pub fn usages(mut self, usages: &[ExtendedKeyUsagePurpose]) -> Self {
        self.0.extended_key_usages = usages.to_vec();
        self
    }

    pub fn ca(mut self) -> Self {
        self.0.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }
}

pub struct Signed {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Signed {
    pub fn slot(self) -> Arc<CertSlot> {
        Arc::new(CertSlot::new(self.identity()))
    }

    pub fn identity(self) -> TlsIdentity {
        TlsIdentity::new(self.chain, self.key).unwrap()
    }

    /// The leaf, with other certificates behind it than its root.
    pub fn with_chain(mut self, rest: &[&CertificateDer<'static>]) -> Self {
        self.chain.truncate(1);
        self.chain.extend(rest.iter().map(|der| (*der).clone()));
        self
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now() - Span::days(1);
    params.not_after = now() + Span::days(30);
    params
}

/// A listener that is being served.
pub struct Running {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Drained>,
}

impl Running {
    /// Serves `router` on a free port of the loopback address, as `with` sets it up.
    pub async fn start(router: Router, with: impl FnOnce(Listener) -> Listener) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = with(Listener::new(tcp, router));
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(listener.serve(async { drop(stopped.await) }));
        Self { addr, stop: Some(stop), served }
    }

    /// Tells the listener to shut down, without waiting for it.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Shuts the listener down.
    pub async fn stop(mut self) -> Drained {
        self.begin_stop();
        self.served.await.unwrap()
    }

    /// Drops the future that serves.
    pub fn abort(self) {
        self.served.abort();
    }

    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.addr)
    }
}

/// A TLS session with `addr`, or why there is none.
pub async fn dial(addr: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(addr).await?;
    let name = ServerName::from(addr.ip());
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A bound on what a test waits for, so that it fails and does not hang.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    within(Duration::from_secs(20), what).await
}

pub async fn within<T>(time: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(time, what).await.expect("it happens in time")
}

/// The session of rustls beneath a stream.
pub fn session(stream: &TlsStream<TcpStream>) -> &rustls::ClientConnection {
    stream.get_ref().1
}
