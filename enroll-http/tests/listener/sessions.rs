//! TLS sessions: never resumed, and who the client is.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use enroll_core::issue::x509::PeerLeaf;
use enroll_http::server::PeerCertificate;
use enroll_http::tls::rustls::client::Resumption;
use enroll_http::tls::rustls::version::{TLS12, TLS13};
use enroll_http::tls::rustls::{
    ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion,
};
use enroll_http::tls::{ClientAuth, PinnedVerifier, ServerTls, provider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::common::{Ca, DOMAIN, Leaf, MASTER, NODE, Running, dial, session, soon};
use super::{GET, client, hello, http, server};

fn one_version(ca: &Ca, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier::new([ca.pin()])))
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// How the second of two connections began, of a client that would like to resume.
async fn second_handshake(addr: SocketAddr, config: &ClientConfig) -> Option<HandshakeKind> {
    let mut last = None;
    for _ in 0..2 {
        let mut stream = soon(dial(addr, config.clone())).await.unwrap();
        stream.write_all(GET).await.unwrap();
        // A ticket would come before the answer.
        let mut answer = [0; 512];
        assert!(soon(stream.read(&mut answer)).await.unwrap() > 0);
        last = session(&stream).handshake_kind();
    }
    last
}

#[tokio::test]
async fn no_session_is_resumed_though_the_client_would() {
    let ca = Ca::new(DOMAIN);
    let ours = Running::start(hello(), |l| l.with_tls(server(&ca))).await;
    let signed = ca.master();
    let defaults = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(signed.chain, signed.key)
        .unwrap();
    let theirs = Running::start(hello(), |l| l.with_tls(Arc::new(defaults))).await;
    for version in [&TLS12, &TLS13] {
        let config = one_version(&ca, version);
        let resumed = second_handshake(theirs.addr, &config).await;
        assert_eq!(resumed, Some(HandshakeKind::Resumed), "rustls by itself, {version:?}");
        let config = one_version(&ca, version);
        let full = second_handshake(ours.addr, &config).await;
        assert_eq!(full, Some(HandshakeKind::Full), "{version:?}");
    }
}

async fn who(certificate: Option<Extension<PeerCertificate>>) -> String {
    certificate.map_or_else(|| "nobody".into(), |Extension(known)| describe(known.leaf()))
}

fn describe(leaf: &PeerLeaf) -> String {
    format!("{} {}", leaf.id(), leaf.serial())
}

#[tokio::test]
async fn a_client_certificate_is_seen_by_handlers_and_its_absence_too() {
    let ca = Ca::new(DOMAIN);
    let tls = ServerTls::new(ca.master().slot())
        .with_client_auth(ClientAuth::Optional { roots: vec![ca.root()] })
        .config()
        .unwrap();
    let router = Router::new().route("/", get(who));
    let running = Running::start(router, |l| l.with_tls(tls).with_http2()).await;

    let node = ca.sign(Leaf::new(&[NODE]));
    let expected = describe(&PeerLeaf::parse(&node.chain[0]).unwrap());
    assert!(expected.starts_with(NODE));

    let slot = node.slot();
    for known in [client(&ca), client(&ca).with_http2()] {
        let known = http(known.with_identity(Arc::clone(&slot)));
        for _ in 0..2 {
            let answer = known.get(running.url("https", "/")).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), expected);
        }
    }
    let answer = http(client(&ca)).get(running.url("https", "/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "nobody");
}

#[tokio::test]
async fn a_certificate_of_the_root_that_names_no_member_is_not_served() {
    let ca = Ca::new(DOMAIN);
    let tls = ServerTls::new(ca.master().slot())
        .with_client_auth(ClientAuth::Optional { roots: vec![ca.root()] })
        .config()
        .unwrap();
    let running = Running::start(hello(), |l| l.with_tls(tls)).await;
    for uris in [&[] as &[&str], &[NODE, MASTER], &["https://fleet.test/"]] {
        let nobody = http(client(&ca).with_identity(ca.sign(Leaf::new(uris)).slot()));
        assert!(soon(nobody.get(running.url("https", "/")).send()).await.is_err());
    }
}
