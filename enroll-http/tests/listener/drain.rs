//! How a listener ends.

use axum::Router;
use axum::routing::get;
use enroll_http::server::{Drained, Limits};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::common::{Ca, DOMAIN, Running, soon, within};
use super::{GET, SHORT, client, hello, http, is_served, send, server, status_line, until_closed};

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
    let mut in_head = send(running.addr, b"GET / HT").await;
    assert!(is_served(running.addr).await, "the listener has taken those before");
    assert_eq!(within(Limits::DRAIN / 2, running.stop()).await, Drained::Clean);
    until_closed(&mut resting).await;
    until_closed(&mut silent).await;
    until_closed(&mut in_head).await;

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
