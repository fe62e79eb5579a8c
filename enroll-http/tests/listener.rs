//! The listener over real sockets: who is served, who is cut, and when it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Extension};
use axum::http::StatusCode;
use axum::middleware::map_request;
use axum::routing::{get, post};
use common::{Ca, DOMAIN, Leaf, MASTER, NODE, Running, dial, session, soon, within};
use enroll_core::issue::x509::PeerLeaf;
use enroll_http::server::{
    BodyDeadline, BodyError, Drained, Exchange, Limits, PeerAddr, PeerCertificate, long_lived,
    read_body,
};
use enroll_http::tls::rustls::client::Resumption;
use enroll_http::tls::rustls::version::{TLS12, TLS13};
use enroll_http::tls::rustls::{
    ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion,
};
use enroll_http::tls::{
    ClientAuth, ClientTls, HttpOptions, PinnedVerifier, ServerTls, http_client, provider,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const SHORT: Duration = Duration::from_millis(500);

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

fn client(ca: &Ca) -> ClientTls {
    ClientTls::new(Arc::new(PinnedVerifier::new([ca.pin()])))
}

fn http(config: ClientTls) -> reqwest::Client {
    http_client(config.config().unwrap(), &HttpOptions::new()).unwrap()
}

fn server(ca: &Ca) -> Arc<ServerConfig> {
    ServerTls::new(ca.master().slot()).config().unwrap()
}

/// Reads until the server closes, in whatever way it does.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    drop(soon(stream.read_to_end(&mut answer)).await);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn send(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    tcp
}

async fn status_line(tcp: &mut TcpStream) -> String {
    let mut read = vec![0; 1024];
    let len = soon(tcp.read(&mut read)).await.unwrap_or(0);
    String::from_utf8_lossy(&read[..len]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_request_is_answered_over_tls_and_knows_where_it_came_from() {
    let ca = Ca::new(DOMAIN);
    let router = Router::new().route(
        "/",
        get(async |Extension(PeerAddr(from)), ConnectInfo(info): ConnectInfo<SocketAddr>| {
            assert_eq!(from, info);
            from.ip().to_string()
        }),
    );
    let running = Running::start(router, |l| l.with_tls(server(&ca))).await;
    let answer = http(client(&ca)).get(running.url("https", "/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "127.0.0.1");
    assert_eq!(soon(running.stop()).await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_slow_sockets_are_closed_while_an_honest_client_is_served() {
    let ca = Ca::new(DOMAIN);
    let limits = Limits::new().with_handshake(SHORT).with_header(SHORT);
    let tls =
        Running::start(hello(), |l| l.with_tls(server(&ca)).with_limits(limits.clone())).await;
    let plain = Running::start(hello(), |l| l.with_limits(limits)).await;

    let started = Instant::now();
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(send(tls.addr, b"").await);
        open.push(send(plain.addr, b"GET / HTTP/1.1\r\nhost: a\r\nx-slow:").await);
    }
    let mut half_hello = send(tls.addr, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
    let mut after_handshake = dial(tls.addr, client(&ca).config().unwrap()).await.unwrap();
    after_handshake.write_all(b"GET / HT").await.unwrap();

    let answer = http(client(&ca)).get(tls.url("https", "/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
    for tcp in &mut open {
        assert_eq!(until_closed(tcp).await, "");
    }
    assert_eq!(until_closed(&mut half_hello).await, "");
    assert_eq!(until_closed(&mut after_handshake).await, "");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(started.elapsed() >= SHORT, "they were not closed for another reason");
}

#[tokio::test]
async fn an_http2_peer_that_only_greets_is_closed_too() {
    let limits = Limits::new().with_header(SHORT);
    let running = Running::start(hello(), |l| l.with_http2().with_limits(limits)).await;
    let started = Instant::now();
    let mut half_preface = send(running.addr, b"PRI * HTTP/2.0\r\n").await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut greeted = send(running.addr, settings).await;
    until_closed(&mut half_preface).await;
    until_closed(&mut greeted).await;
    assert!(started.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_kept_alive_connection_is_closed_when_it_rests_too_long() {
    let limits = Limits::new().with_idle(SHORT);
    let running = Running::start(hello(), |l| l.with_limits(limits)).await;
    let mut tcp = send(running.addr, GET).await;
    assert_eq!(status_line(&mut tcp).await, "HTTP/1.1 200 OK");
    tcp.write_all(GET).await.unwrap();
    assert_eq!(status_line(&mut tcp).await, "HTTP/1.1 200 OK");
    let rested = Instant::now();
    assert_eq!(until_closed(&mut tcp).await, "");
    assert!(rested.elapsed() >= SHORT - Duration::from_millis(50));
}

/// Answers what reading a body within short bounds came to.
async fn bounded(body: Body) -> String {
    match read_body(body, 10, SHORT).await {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test]
async fn a_body_is_read_within_its_size_and_its_time() {
    let running = Running::start(Router::new().route("/", post(bounded)), |l| l).await;
    let post = async |length: &str, body: &[u8]| {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{length}\r\n\r\n");
        let mut tcp = send(running.addr, head.as_bytes()).await;
        tcp.write_all(body).await.unwrap();
        until_closed(&mut tcp).await.lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(post("content-length: 10", b"0123456789").await, "10 bytes");
    let too_large = format!("{:?}", BodyError::TooLarge(10));
    assert_eq!(post("content-length: 11", b"").await, too_large, "before a byte is read");
    let chunks = b"6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
    assert_eq!(post("transfer-encoding: chunked", chunks).await, too_large);
    let too_slow = format!("{:?}", BodyError::TooSlow(SHORT));
    assert_eq!(post("content-length: 10", b"01234").await, too_slow);
    assert_eq!(post("transfer-encoding: chunked", b"1\r\n0\r\n").await, too_slow);
    assert_eq!(post("transfer-encoding: chunked", b"nonsense\r\n").await, "Broken");
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let router = Router::new().route("/", post(async || StatusCode::TOO_MANY_REQUESTS));
    let running = Running::start(router, |l| l).await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 65536\r\n\r\n";
    let mut tcp = send(running.addr, head).await;
    // The answer is there before the body: from here on the server wants nothing more.
    soon(tcp.readable()).await.unwrap();
    for _ in 0..10 {
        tcp.write_all(&[b'x'; 1024]).await.expect("the connection is not reset");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status_line(&mut tcp).await, "HTTP/1.1 429 Too Many Requests");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_left_in_the_end() {
    let router = Router::new().route("/", post(async || StatusCode::TOO_MANY_REQUESTS));
    let running = Running::start(router, |l| l).await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n";
    for pause in [Duration::ZERO, Duration::from_millis(10)] {
        let mut tcp = send(running.addr, head).await;
        soon(async {
            while tcp.write_all(&[b'x'; 1024]).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_trickle_does_not_prolong_the_time_of_a_body() {
    let slow = async |body: Body| format!("{:?}", read_body(body, 1000, SHORT).await);
    let running = Running::start(Router::new().route("/", post(slow)), |l| l).await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";
    let chunked = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (head, again) in [(&head[..], &b"0"[..]), (chunked, b"1\r\n0\r\n")] {
        let started = Instant::now();
        let (mut read, mut write) = send(running.addr, head).await.into_split();
        let trickle = tokio::spawn(async move {
            while write.write_all(again).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        until_closed(&mut read).await;
        soon(trickle).await.unwrap();
        assert!(started.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn the_body_layer_bounds_what_an_extractor_reads() {
    let bounds = BodyDeadline::new().with_max(10).with_deadline(SHORT);
    let router = Router::new()
        .route("/", post(async |body: Bytes| body.len().to_string()))
        .route("/twice", post(bounded_inside))
        .layer(bounds);
    let running = Running::start(router, |l| l).await;
    let post = async |path: &str, length: usize, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut tcp = send(running.addr, head.as_bytes()).await;
        tcp.write_all(body).await.unwrap();
        until_closed(&mut tcp).await
    };
    assert!(post("/", 4, b"0123").await.ends_with("\r\n\r\n4"));
    assert!(post("/", 11, b"0123").await.starts_with("HTTP/1.1 400 "));
    let started = Instant::now();
    assert!(post("/", 4, b"012").await.starts_with("HTTP/1.1 400 "));
    assert!(started.elapsed() >= SHORT);
    assert!(post("/twice", 11, b"").await.ends_with("TooLarge(10)"), "the inner bound is told");
}

async fn bounded_inside(body: Body) -> String {
    format!("{:?}", read_body(body, 1000, Duration::from_secs(5)).await.unwrap_err())
}

#[tokio::test]
async fn an_exchange_that_takes_too_long_is_cut_whoever_delays_it() {
    let limits = Limits::new().with_exchange(SHORT);
    let large = Bytes::from(vec![b'x'; 64 << 20]);
    let router = Router::new()
        .route("/", get(async || std::future::pending::<()>().await))
        .route(
            "/body",
            post(async |body: Body| {
                read_body(body, 99, Duration::MAX).await.map(drop).map_err(|_| ())
            }),
        )
        .route("/large", get(async move || large.clone()));
    let running = Running::start(router, |l| l.with_limits(limits)).await;

    let mut handler = send(running.addr, GET).await;
    let mut body =
        send(running.addr, b"POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1").await;
    let mut reader = send(running.addr, b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(until_closed(&mut handler).await, "");
    assert_eq!(until_closed(&mut body).await, "");
    // The peer that does not read is cut as well: what comes is what stood in the sockets' buffers.
    tokio::time::sleep(SHORT).await;
    assert!(until_closed(&mut reader).await.len() < 64 << 20);
}

#[tokio::test]
async fn a_stream_that_was_kept_open_outlives_the_deadline_and_ends_at_shutdown() {
    let ca = Ca::new(DOMAIN);
    let limits = Limits::new().with_exchange(SHORT).with_idle(SHORT);
    let router = Router::new()
        .route(
            "/",
            get(async |Extension(exchange): Extension<Exchange>| {
                exchange.closing().await;
                "the end"
            }),
        )
        .layer(map_request(long_lived));
    let mut running =
        Running::start(router, |l| l.with_tls(server(&ca)).with_http2().with_limits(limits)).await;
    let mut answers = Vec::new();
    for version in [client(&ca), client(&ca).with_http2()] {
        let client = http(version);
        let url = running.url("https", "/");
        let answer = tokio::spawn(async move { client.get(url).send().await?.text().await });
        tokio::time::sleep(SHORT * 3).await;
        assert!(!answer.is_finished());
        answers.push(answer);
    }
    running.begin_stop();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().unwrap(), "the end");
    }
    assert_eq!(soon(running.stop()).await, Drained::Clean);
}

/// Whether a new connection from `addr`'s own address is served.
async fn is_served(addr: SocketAddr) -> bool {
    let Ok(mut tcp) = TcpStream::connect(addr).await else { return false };
    if tcp.write_all(GET).await.is_err() {
        return false;
    }
    status_line(&mut tcp).await == "HTTP/1.1 200 OK"
}

#[tokio::test]
async fn an_address_over_its_cap_is_closed_at_once_and_served_again_later() {
    let limits = Limits::new().with_per_address(2);
    let running = Running::start(hello(), |l| l.with_limits(limits)).await;
    let mut first = send(running.addr, GET).await;
    let mut second = send(running.addr, GET).await;
    assert_eq!(status_line(&mut first).await, "HTTP/1.1 200 OK");
    assert_eq!(status_line(&mut second).await, "HTTP/1.1 200 OK");

    let before = Instant::now();
    let mut third = TcpStream::connect(running.addr).await.unwrap();
    assert_eq!(until_closed(&mut third).await, "");
    assert!(before.elapsed() < Duration::from_secs(5), "it waits for no deadline");

    drop(first);
    soon(async { while !is_served(running.addr).await {} }).await;
}

#[tokio::test]
async fn the_cap_in_all_holds_and_an_exempt_address_has_no_other() {
    let limits = Limits::new().with_per_address(1).with_connections(2);
    let running =
        Running::start(hello(), |l| l.with_limits(limits).with_exempt(|ip| ip.is_loopback())).await;
    let mut first = send(running.addr, GET).await;
    let mut second = send(running.addr, GET).await;
    assert_eq!(status_line(&mut first).await, "HTTP/1.1 200 OK");
    assert_eq!(status_line(&mut second).await, "HTTP/1.1 200 OK");
    assert!(!is_served(running.addr).await);
}

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

/// A handler that tells when it has begun, and answers when it is told to.
fn gated() -> (Router, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (begun, gates) = mpsc::unbounded_channel();
    let handler = async move || {
        let (open, gate) = oneshot::channel();
        begun.send(open).unwrap();
        drop(gate.await);
        "done"
    };
    (Router::new().route("/", get(handler)), gates)
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let ca = Ca::new(DOMAIN);
    let (router, mut gates) = gated();
    let mut running = Running::start(router, |l| l.with_tls(server(&ca)).with_http2()).await;
    let url = running.url("https", "/");
    let mut answers = Vec::new();
    let mut open = Vec::new();
    for version in [client(&ca), client(&ca).with_http2()] {
        let request = http(version).get(&url);
        answers.push(tokio::spawn(async move { request.send().await?.text().await }));
        open.push(soon(gates.recv()).await.unwrap());
    }
    running.begin_stop();
    soon(async { while TcpStream::connect(running.addr).await.is_ok() {} }).await;
    drop(open);
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().unwrap(), "done");
    }
    assert_eq!(soon(running.stop()).await, Drained::Clean);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_who_ask_nothing() {
    let ca = Ca::new(DOMAIN);
    let running = Running::start(hello(), |l| l).await;
    let mut resting = send(running.addr, GET).await;
    assert_eq!(status_line(&mut resting).await, "HTTP/1.1 200 OK");
    let mut silent = TcpStream::connect(running.addr).await.unwrap();
    assert!(is_served(running.addr).await, "the listener has taken the silent one");
    assert_eq!(within(Limits::DRAIN / 2, running.stop()).await, Drained::Clean);
    until_closed(&mut resting).await;
    until_closed(&mut silent).await;

    let running = Running::start(hello(), |l| l.with_tls(server(&ca))).await;
    let mut in_handshake = TcpStream::connect(running.addr).await.unwrap();
    let answer = http(client(&ca)).get(running.url("https", "/")).send().await;
    assert!(answer.is_ok());
    assert_eq!(within(Limits::DRAIN / 2, running.stop()).await, Drained::Clean);
    until_closed(&mut in_handshake).await;
}

#[tokio::test]
async fn a_drain_ends_though_an_exchange_does_not() {
    let limits = Limits::new().with_drain(SHORT);
    let (router, mut gates) = gated();
    let running = Running::start(router, |l| l.with_limits(limits)).await;
    let mut tcp = send(running.addr, GET).await;
    let _gate = soon(gates.recv()).await.unwrap();
    assert_eq!(soon(running.stop()).await, Drained::Cut(1));
    assert_eq!(until_closed(&mut tcp).await, "");
}

#[tokio::test]
async fn nothing_outlives_a_serve_that_is_dropped() {
    let ca = Ca::new(DOMAIN);
    let (router, mut gates) = gated();
    let running = Running::start(router, |l| l.with_tls(server(&ca)).with_http2()).await;
    let url = running.url("https", "/");
    let mut open = Vec::new();
    for version in [client(&ca), client(&ca).with_http2()] {
        let request = http(version).get(&url);
        tokio::spawn(request.send());
        open.push(soon(gates.recv()).await.unwrap());
    }
    running.abort();
    for mut gate in open {
        // The gate's other end lives in the handler, and dies with it.
        soon(gate.closed()).await;
    }
}

#[tokio::test]
async fn http2_is_spoken_only_where_it_was_switched_on() {
    let ca = Ca::new(DOMAIN);
    let one = Running::start(hello(), |l| l.with_tls(server(&ca))).await;
    let two = Running::start(hello(), |l| l.with_tls(server(&ca)).with_http2()).await;
    let version = async |running: &Running, config: ClientTls| {
        http(config).get(running.url("https", "/")).send().await.unwrap().version()
    };
    use reqwest::Version;
    assert_eq!(version(&one, client(&ca).with_http2()).await, Version::HTTP_11);
    assert_eq!(version(&two, client(&ca).with_http2()).await, Version::HTTP_2);
    assert_eq!(version(&two, client(&ca)).await, Version::HTTP_11);

    let mut only_two = client(&ca).with_http2().config().unwrap();
    only_two.alpn_protocols = vec![b"h2".to_vec()];
    assert!(dial(one.addr, only_two.clone()).await.is_err(), "nothing in common");
    let stream = dial(two.addr, only_two).await.unwrap();
    assert_eq!(session(&stream).alpn_protocol(), Some(&b"h2"[..]));

    let plain = Running::start(hello(), |l| l).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut tcp = send(plain.addr, preface).await;
    let answer = until_closed(&mut tcp).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
}

#[tokio::test]
async fn a_head_over_its_size_is_answered_431() {
    let ca = Ca::new(DOMAIN);
    let running = Running::start(hello(), |l| l.with_tls(server(&ca)).with_http2()).await;
    for version in [client(&ca), client(&ca).with_http2()] {
        let client = http(version);
        let status = async |bytes: usize| {
            let request = client.get(running.url("https", "/")).header("x-long", "a".repeat(bytes));
            soon(request.send()).await.unwrap().status()
        };
        assert_eq!(status(Limits::HEADER_BYTES - 1024).await, StatusCode::OK);
        let refused = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        assert_eq!(status(Limits::HEADER_BYTES + 1).await, refused);
    }
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_and_no_other() {
    let router = hello().route("/panic", get(async || -> () { panic!("of a handler") }));
    let running = Running::start(router, |l| l).await;
    let mut panicking = send(running.addr, b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(until_closed(&mut panicking).await, "");
    assert!(is_served(running.addr).await);
    assert_eq!(soon(running.stop()).await, Drained::Clean);
}
