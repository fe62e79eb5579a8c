//! The listener over real sockets: who is served, who is cut, and when it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod bodies;
mod caps;
mod deadlines;
mod drain;
mod sessions;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use axum::http::StatusCode;
use axum::routing::get;
use common::{Ca, DOMAIN, Running, dial, session, soon};
use enroll_http::server::{Drained, Limits, PeerAddr};
use enroll_http::tls::rustls::ServerConfig;
use enroll_http::tls::{ClientTls, HttpOptions, PinnedVerifier, ServerTls, http_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

/// Whether a new connection from `addr`'s own address is served.
async fn is_served(addr: SocketAddr) -> bool {
    let Ok(mut tcp) = TcpStream::connect(addr).await else { return false };
    if tcp.write_all(GET).await.is_err() {
        return false;
    }
    status_line(&mut tcp).await == "HTTP/1.1 200 OK"
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
    for bytes in [Limits::HEADER_BYTES, 2 * Limits::HEADER_BYTES] {
        let limits = Limits::new().with_header_bytes(bytes);
        let running =
            Running::start(hello(), |l| l.with_tls(server(&ca)).with_http2().with_limits(limits));
        let running = running.await;
        for version in [client(&ca), client(&ca).with_http2()] {
            let client = http(version);
            let status = async |length: usize| {
                let request = client.get(running.url("https", "/"));
                let request = request.header("x-long", "a".repeat(length));
                soon(request.send()).await.unwrap().status()
            };
            assert_eq!(status(bytes - 1024).await, StatusCode::OK);
            let refused = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            assert_eq!(status(bytes + 1).await, refused);
        }
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
