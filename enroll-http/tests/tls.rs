//! Whom a worker and a master accept, over real sockets and real handshakes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::{any, get};
use common::{Ca, DOMAIN, Leaf, MASTER, NODE, Running, Signed, dial, now, session, soon};
use enroll_core::issue::x509::{Authority, RootCertificate};
use enroll_core::model::{Clock, NodeName, SystemClock, SystemEntropy, Timestamp, TrustDomain};
use enroll_http::tls::rustls::ServerConfig;
use enroll_http::tls::rustls::client::danger::ServerCertVerifier;
use enroll_http::tls::rustls::crypto::CryptoProvider;
use enroll_http::tls::rustls::pki_types::CertificateDer;
use enroll_http::tls::rustls::server::{ClientHello, ResolvesServerCert};
use enroll_http::tls::rustls::sign::CertifiedKey;
use enroll_http::tls::{
    CertSlot, ClientAuth, ClientTls, HttpOptions, PinnedVerifier, RootVerifier, ServerTls,
    TlsError, TlsIdentity, TlsRefusal, http_client, provider, tls_refusal,
};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth as ForClients, ServerAuth as ForServers};
use time::Duration as Span;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a server saw of one client: application bytes, or none because no session came about.
type Seen = Option<usize>;

/// A client sends a token to a server that presents `config`. Says what the client was told, and
/// what the server could decrypt.
async fn send_token(
    verifier: Arc<dyn ServerCertVerifier>,
    config: Arc<ServerConfig>,
) -> (Option<TlsRefusal>, Seen) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1/enroll", tcp.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = tcp.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
        let mut buffer = [0; 4096];
        Some(stream.read(&mut buffer).await.unwrap_or(0))
    });
    let config = ClientTls::new(verifier).config().unwrap();
    let client = http_client(config, &HttpOptions::new()).unwrap();
    let sent = soon(client.post(url).body("a token").send()).await;
    // A server that reads and hangs up fails the request too, but not in TLS.
    let refusal = tls_refusal(&sent.expect_err("the server never answers"));
    (refusal, soon(server).await.unwrap())
}

fn presenting(signed: Signed) -> Arc<ServerConfig> {
    ServerTls::new(signed.slot()).config().unwrap()
}

fn pinned(ca: &Ca) -> Arc<PinnedVerifier> {
    Arc::new(PinnedVerifier::new([ca.pin()]))
}

async fn is_refused(ca: &Ca, signed: Signed, why: TlsRefusal) {
    let root: Arc<dyn ServerCertVerifier> = Arc::new(RootVerifier::master(&ca.root()).unwrap());
    let config = presenting(signed);
    let (refusal, seen) = send_token(pinned(ca), Arc::clone(&config)).await;
    assert_eq!((refusal, seen), (Some(why), None), "by the pin");
    let (refusal, seen) = send_token(root, config).await;
    assert_eq!((refusal, seen), (Some(why), None), "by the root");
}

#[tokio::test]
async fn the_master_under_the_pinned_root_gets_the_request_and_its_root_is_remembered() {
    let ca = Ca::new(DOMAIN);
    let verifier = pinned(&ca);
    assert!(verifier.root().is_none());
    let (refusal, seen) =
        send_token(Arc::<PinnedVerifier>::clone(&verifier), presenting(ca.master())).await;
    assert_eq!(refusal, None);
    assert!(seen.is_some_and(|bytes| bytes > 0), "{seen:?}");
    assert_eq!(verifier.root().map(RootCertificate::der), Some(&*ca.der));
}

#[tokio::test]
async fn one_of_several_pins_is_enough() {
    let (old, new) = (Ca::new(DOMAIN), Ca::new(DOMAIN));
    let verifier = Arc::new(PinnedVerifier::new([old.pin(), new.pin()]));
    let (refusal, seen) =
        send_token(Arc::<PinnedVerifier>::clone(&verifier), presenting(new.master())).await;
    assert_eq!(refusal, None);
    assert!(seen.is_some());
    assert_eq!(verifier.root().map(RootCertificate::der), Some(&*new.der));
}

#[tokio::test]
async fn under_a_wrong_pin_the_server_decrypts_nothing() {
    let (ours, other) = (Ca::new(DOMAIN), Ca::new(DOMAIN));
    let verifier = pinned(&ours);
    let (refusal, seen) =
        send_token(Arc::<PinnedVerifier>::clone(&verifier), presenting(other.master())).await;
    assert_eq!((refusal, seen), (Some(TlsRefusal::PinMismatch), None));
    assert!(verifier.root().is_none());
}

#[tokio::test]
async fn without_a_pin_nobody_is_trusted() {
    let ca = Ca::new(DOMAIN);
    let verifier = Arc::new(PinnedVerifier::new([]));
    let (refusal, seen) = send_token(verifier, presenting(ca.master())).await;
    assert_eq!((refusal, seen), (Some(TlsRefusal::PinMismatch), None));
}

#[tokio::test]
async fn a_chain_without_the_pinned_root_is_a_pin_mismatch() {
    let ca = Ca::new(DOMAIN);
    let leaf_only = ca.master().with_chain(&[]);
    let (refusal, seen) = send_token(pinned(&ca), presenting(leaf_only)).await;
    assert_eq!((refusal, seen), (Some(TlsRefusal::PinMismatch), None));
}

#[tokio::test]
async fn a_member_of_the_fleet_cannot_pose_as_the_master() {
    let ca = Ca::new(DOMAIN);
    for uris in [
        &[] as &[&str],
        &[NODE],
        &[MASTER, NODE],
        &[MASTER, MASTER],
        &["spiffe://other.test/master"],
        &["spiffe://fleet.test/master/"],
        &["spiffe://fleet.test/masters"],
        &["SPIFFE://fleet.test/master"],
        &["spiffe://fleet.test/node/master"],
    ] {
        is_refused(&ca, ca.sign(Leaf::new(uris)), TlsRefusal::NotMaster).await;
    }
}

#[tokio::test]
async fn another_root_of_the_same_name_is_refused_even_with_the_pinned_one_beside_it() {
    let (ours, other) = (Ca::new(DOMAIN), Ca::new(DOMAIN));
    let both = other.master().with_chain(&[&ours.der, &other.der]);
    is_refused(&ours, both, TlsRefusal::Chain).await;
    let ours_alone = other.master().with_chain(&[&ours.der]);
    is_refused(&ours, ours_alone, TlsRefusal::Chain).await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_says_so() {
    let ca = Ca::new(DOMAIN);
    let (day, now) = (Span::days(1), now());
    let over = ca.sign(Leaf::new(&[MASTER]).valid(now - day * 9, now - day));
    is_refused(&ca, over, TlsRefusal::Expired).await;
    let early = ca.sign(Leaf::new(&[MASTER]).valid(now + day, now + day * 9));
    is_refused(&ca, early, TlsRefusal::NotYetValid).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_meant_for_a_server_is_refused() {
    let ca = Ca::new(DOMAIN);
    is_refused(&ca, ca.sign(Leaf::new(&[MASTER]).usages(&[ForClients])), TlsRefusal::Chain).await;
    is_refused(&ca, ca.sign(Leaf::new(&[MASTER]).usages(&[])), TlsRefusal::Chain).await;
    is_refused(&ca, ca.sign(Leaf::new(&[MASTER]).ca()), TlsRefusal::Chain).await;
}

#[tokio::test]
async fn a_pin_of_something_else_than_a_root_trusts_nobody() {
    let ca = Ca::new(DOMAIN);
    let master = ca.master();
    let leaf = master.chain[0].clone();
    let verifier = PinnedVerifier::new([enroll_core::model::Fingerprint::of_der(&leaf)]);
    let posing = master.with_chain(&[&leaf]);
    let (refusal, seen) = send_token(Arc::new(verifier), presenting(posing)).await;
    assert_eq!((refusal, seen), (Some(TlsRefusal::Chain), None));

    let odd = Ca::new("Not a trust domain");
    let (refusal, seen) = send_token(pinned(&odd), presenting(odd.master())).await;
    assert_eq!((refusal, seen), (Some(TlsRefusal::Chain), None));
}

/// Presents a chain with a key that is not the leaf's, as one who only recorded the chain would.
#[derive(Debug)]
struct Replayed(Arc<CertifiedKey>);

impl ResolvesServerCert for Replayed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn who_has_only_recorded_the_chain_is_refused() {
    let ca = Ca::new(DOMAIN);
    let key = provider().key_provider.load_private_key(Ca::new("x").master().key).unwrap();
    let replayed = Replayed(Arc::new(CertifiedKey::new(ca.master().chain, key)));
    let config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(replayed));
    let (refusal, seen) = send_token(pinned(&ca), Arc::new(config)).await;
    assert_eq!((refusal, seen), (Some(TlsRefusal::Chain), None));
}

#[tokio::test]
async fn a_master_that_calls_a_node_reaches_that_node_alone() {
    let ca = Ca::new(DOMAIN);
    let call = async |leaf: Leaf| {
        let name = NodeName::new("worker-1").unwrap();
        let verifier = RootVerifier::node(&ca.root(), name).unwrap();
        send_token(Arc::new(verifier), presenting(ca.sign(leaf))).await
    };
    let (refusal, seen) = call(Leaf::new(&[NODE])).await;
    assert_eq!(refusal, None);
    assert!(seen.is_some());
    for other in
        [&["spiffe://fleet.test/node/worker-2"] as &[&str], &[MASTER], &[], &[NODE, MASTER]]
    {
        let refused = call(Leaf::new(other)).await;
        assert_eq!(refused, (Some(TlsRefusal::NotThatNode), None), "{other:?}");
    }
}

struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[tokio::test]
async fn certificates_are_judged_by_the_clock_that_was_given() {
    let ca = Ca::new(DOMAIN);
    let running = Running::start(Router::new(), |l| l.with_tls(presenting(ca.master()))).await;
    let at = async |when: time::OffsetDateTime| {
        let clock = Arc::new(At(Timestamp::from_unix_secs(when.unix_timestamp())));
        let config = ClientTls::new(pinned(&ca)).with_clock(clock).config().unwrap();
        dial(running.addr, config).await.err().and_then(|error| tls_refusal(&error))
    };
    assert_eq!(at(now()).await, None);
    assert_eq!(at(now() + Span::days(365)).await, Some(TlsRefusal::Expired));
    assert_eq!(at(now() - Span::days(365)).await, Some(TlsRefusal::NotYetValid));
    assert_eq!(at(time::OffsetDateTime::UNIX_EPOCH).await, Some(TlsRefusal::NotYetValid));
}

/// Calls a listener that asks for client certificates; says why it failed, if it did in TLS.
async fn call(ca: &Ca, auth: ClientAuth, identity: Option<Signed>) -> Result<(), TlsRefusal> {
    let tls = ServerTls::new(ca.master().slot()).with_client_auth(auth).config().unwrap();
    let router = Router::new().route("/", get(async || "in"));
    let running = Running::start(router, |l| l.with_tls(tls)).await;
    let mut client = ClientTls::new(pinned(ca));
    if let Some(identity) = identity {
        client = client.with_identity(identity.slot());
    }
    let client = http_client(client.config().unwrap(), &HttpOptions::new()).unwrap();
    let answer = soon(client.get(running.url("https", "/")).send()).await;
    answer.map(drop).map_err(|error| tls_refusal(&error).expect("the failure is one of TLS"))
}

#[tokio::test]
async fn a_worker_that_is_called_lets_in_its_master_alone() {
    let ca = Ca::new(DOMAIN);
    let only = || ClientAuth::Only(Arc::new(RootVerifier::master(&ca.root()).unwrap()));
    assert_eq!(call(&ca, only(), Some(ca.master())).await, Ok(()));
    let refused = Err(TlsRefusal::RefusedByPeer);
    assert_eq!(call(&ca, only(), None).await, refused);
    assert_eq!(call(&ca, only(), Some(ca.sign(Leaf::new(&[NODE])))).await, refused);
    assert_eq!(call(&ca, only(), Some(Ca::new(DOMAIN).master())).await, refused);
    let for_servers = ca.sign(Leaf::new(&[MASTER]).usages(&[ForServers]));
    assert_eq!(call(&ca, only(), Some(for_servers)).await, refused);
}

#[tokio::test]
async fn a_client_certificate_that_is_no_good_is_worse_than_none() {
    let ca = Ca::new(DOMAIN);
    let optional = || ClientAuth::Optional { roots: vec![ca.root()] };
    assert_eq!(call(&ca, optional(), None).await, Ok(()));
    assert_eq!(call(&ca, optional(), Some(ca.sign(Leaf::new(&[NODE])))).await, Ok(()));
    let refused = Err(TlsRefusal::RefusedByPeer);
    let stranger = Ca::new(DOMAIN).sign(Leaf::new(&[NODE]));
    assert_eq!(call(&ca, optional(), Some(stranger)).await, refused);
    let (now, day) = (now(), Span::days(1));
    let expired = ca.sign(Leaf::new(&[NODE]).valid(now - day * 2, now - day));
    assert_eq!(call(&ca, optional(), Some(expired)).await, refused);
}

#[tokio::test]
async fn a_replaced_certificate_is_presented_from_the_next_handshake_on() {
    let ca = Ca::new(DOMAIN);
    let slot = ca.master().slot();
    let tls = ServerTls::new(Arc::clone(&slot)).config().unwrap();
    let running = Running::start(Router::new(), |l| l.with_tls(tls)).await;
    let leaf = async || {
        let config = ClientTls::new(pinned(&ca)).config().unwrap();
        let stream = dial(running.addr, config).await.unwrap();
        session(&stream).peer_certificates().unwrap()[0].clone()
    };
    let old = slot.current().chain()[0].clone();
    assert_eq!(leaf().await, old);

    let renewed = ca.master().identity();
    slot.replace(renewed.clone());
    assert_eq!(leaf().await, renewed.chain()[0]);
}

#[test]
fn a_chain_and_a_key_that_do_not_fit_are_no_identity() {
    let ca = Ca::new(DOMAIN);
    let of = |chain, key| TlsIdentity::new(chain, key).map(drop);
    assert!(of(ca.master().chain, ca.master().key).is_err());
    assert!(of(vec![], ca.master().key).is_err());
    assert!(of(vec![CertificateDer::from(vec![0x30])], ca.master().key).is_err());
    let signed = ca.master();
    assert!(of(signed.chain, signed.key).is_ok());
}

#[tokio::test]
async fn what_the_authority_issues_for_a_master_is_accepted_as_one() {
    let (clock, entropy) = (SystemClock::new(), SystemEntropy::new());
    let authority = Authority::in_memory(&TrustDomain::default(), clock.now(), &entropy).unwrap();
    let issued = authority.issue_master(&[], clock.now(), &entropy).unwrap();
    let identity = TlsIdentity::of_master(&issued).unwrap();
    let tls = ServerTls::new(Arc::new(CertSlot::new(identity))).config().unwrap();
    let verifier = Arc::new(PinnedVerifier::new([authority.fingerprint()]));
    let (refusal, seen) = send_token(Arc::<PinnedVerifier>::clone(&verifier), tls).await;
    assert_eq!(refusal, None);
    assert!(seen.is_some_and(|bytes| bytes > 0));
    assert_eq!(verifier.root().map(RootCertificate::pem), Some(authority.root_pem()));
}

#[test]
fn an_identity_reads_its_pem_and_shows_none_of_it() {
    let ca = Ca::new(DOMAIN);
    let signed = ca.master();
    let pem = |label: &str, der: &[u8]| {
        let body = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let certificate = |der: &CertificateDer<'_>| pem("CERTIFICATE", der);
    let chain: String = signed.chain.iter().map(certificate).collect();
    let key = pem("PRIVATE KEY", signed.key.secret_der());
    let identity = TlsIdentity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(identity.chain(), signed.chain);

    let broken = key.replace("-----END", "----END");
    let error = TlsIdentity::from_pem(chain.as_bytes(), broken.as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::Identity));
    assert!(std::error::Error::source(&error).is_none());
    let slot = Arc::new(CertSlot::new(identity.clone()));
    for shown in [
        format!("{identity:?}"),
        format!("{slot:?}"),
        format!("{:?}", ServerTls::new(Arc::clone(&slot))),
        format!("{:?}", ClientTls::new(pinned(&ca)).with_identity(Arc::clone(&slot))),
        format!("{error:?} {error}"),
    ] {
        let secret = &data_encoding::BASE64.encode(signed.key.secret_der())[40..80];
        assert!(!shown.contains(secret), "{shown}");
        assert!(shown.len() < 1000, "{shown}");
    }
}

#[tokio::test]
async fn what_fails_before_tls_is_no_refusal_and_what_speaks_something_else_is_one() {
    let ca = Ca::new(DOMAIN);
    let client = http_client(ClientTls::new(pinned(&ca)).config().unwrap(), &HttpOptions::new());
    let client = client.unwrap();

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = soon(client.get(format!("https://{closed}/")).send()).await.unwrap_err();
    assert_eq!(tls_refusal(&error), None);

    let plain = Running::start(Router::new(), |l| l).await;
    let error = soon(client.get(plain.url("https", "/")).send()).await.unwrap_err();
    assert_eq!(tls_refusal(&error), Some(TlsRefusal::Protocol));
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_nobody_else_is_called() {
    let ca = Ca::new(DOMAIN);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let elsewhere = Router::new().fallback(any(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let tls = presenting(ca.master());
    let elsewhere = Running::start(elsewhere, |l| l.with_tls(Arc::clone(&tls))).await;
    let there = elsewhere.url("https", "/");
    let router = Router::new().fallback(any(move || async move { Redirect::temporary(&there) }));
    let running = Running::start(router, |l| l.with_tls(tls)).await;

    let config = ClientTls::new(pinned(&ca)).config().unwrap();
    let client = http_client(config, &HttpOptions::new()).unwrap();
    let answer = client.post(running.url("https", "/")).body("a token").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plaintext_is_refused_unless_it_was_allowed() {
    let ca = Ca::new(DOMAIN);
    let router = Router::new().route("/", get(async || "plain"));
    let running = Running::start(router, |l| l).await;
    let config = ClientTls::new(pinned(&ca)).config().unwrap();

    let client = http_client(config.clone(), &HttpOptions::new()).unwrap();
    let error = client.get(running.url("http", "/")).send().await.unwrap_err();
    assert!(error.is_builder(), "no connection is opened: {error:?}");

    let allowed = HttpOptions::new().danger_allow_plaintext();
    let client = http_client(config, &allowed).unwrap();
    let answer = client.get(running.url("http", "/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "plain");
}

#[tokio::test]
async fn no_provider_is_installed_for_the_process() {
    let ca = Ca::new(DOMAIN);
    let running = Running::start(Router::new(), |l| l.with_tls(presenting(ca.master()))).await;
    dial(running.addr, ClientTls::new(pinned(&ca)).config().unwrap()).await.unwrap();
    assert!(CryptoProvider::get_default().is_none());
}
