//! How long a connection may take in each of its states.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::middleware::map_request;
use axum::routing::{get, post};
use enroll_http::server::{Drained, Exchange, Limits, long_lived, read_body};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::common::{Ca, DOMAIN, Running, dial, soon};
use super::{GET, SHORT, client, hello, http, send, server, status_line, until_closed};

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_by_the_system() {
    let running = Running::start(hello(), |l| l).await;
    let mut stream = send(running.addr, GET).await;
    assert_eq!(status_line(&mut stream).await, "HTTP/1.1 200 OK");
    // Address, peer, state (01 is established), queues, timer: 02 is the one of keep-alive.
    let local = format!("0100007F:{:04X}", running.addr.port());
    let peer = format!("0100007F:{:04X}", stream.local_addr().unwrap().port());
    let is_ours = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1..4] == [&*local, &*peer, "01"]
    };
    let guarded = async {
        loop {
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let ours = sockets.lines().find(is_ours).expect("it is open").to_owned();
            // While an answer is on its way, the timer is another.
            if ours.split_whitespace().nth(5).unwrap().starts_with("02:") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(guarded).await;
}

#[tokio::test]
async fn a_deadline_past_the_end_of_time_is_none() {
    let limits = Limits::new().with_handshake(Duration::MAX).with_header(Duration::MAX);
    let limits = limits.with_exchange(Duration::MAX).with_idle(Duration::MAX);
    let running = Running::start(hello(), |l| l.with_limits(limits)).await;
    let mut stream = send(running.addr, GET).await;
    assert_eq!(status_line(&mut stream).await, "HTTP/1.1 200 OK");
    stream.write_all(GET).await.unwrap();
    assert_eq!(status_line(&mut stream).await, "HTTP/1.1 200 OK");
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
