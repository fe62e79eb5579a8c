//! How many connections there may be.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::map_request;
use enroll_core::model::Subject;
use enroll_http::server::{Exchange, Limits, PeerCertificate};
use enroll_http::tls::{CertSlot, ClientAuth, ClientTls, ServerTls};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::common::{Ca, DOMAIN, Leaf, NODE, Running, dial, soon};
use super::{GET, SHORT, client, hello, is_served, send, status_line, until_closed};

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

const OTHER: &str = "spiffe://fleet.test/node/other";

/// What authorises a caller by its certificate, with nobody to ask.
async fn believed(request: Request) -> Request {
    let extensions = request.extensions();
    if let Some(certificate) = extensions.get::<PeerCertificate>()
        && let Subject::Node(name) = certificate.leaf().id().subject()
    {
        extensions.get::<Exchange>().unwrap().count_as_member(name);
    }
    request
}

/// A listener that knows members, as `limits` say.
async fn known(ca: &Ca, limits: Limits) -> Running {
    let tls = ServerTls::new(ca.master().slot())
        .with_client_auth(ClientAuth::Optional { roots: vec![ca.root()] })
        .config()
        .unwrap();
    let router = hello().layer(map_request(believed));
    Running::start(router, |l| l.with_tls(tls).with_limits(limits)).await
}

/// A connection that was served, still open; `None` where it was closed instead.
async fn served(running: &Running, tls: ClientTls) -> Option<TlsStream<TcpStream>> {
    let mut stream = dial(running.addr, tls.config().unwrap()).await.ok()?;
    stream.write_all(GET).await.ok()?;
    let mut read = [0; 1024];
    let len = soon(stream.read(&mut read)).await.ok()?;
    read[..len].starts_with(b"HTTP/1.1 200 OK").then_some(stream)
}

fn slot(ca: &Ca, id: &str) -> Arc<CertSlot> {
    ca.sign(Leaf::new(&[id])).slot()
}

#[tokio::test]
async fn a_fleet_behind_one_address_is_not_held_to_what_a_stranger_may_have() {
    let ca = Ca::new(DOMAIN);
    let limits = Limits::new().with_per_address(1).with_per_member(2).with_members(3);
    let running = known(&ca, limits).await;
    let (node, other) = (slot(&ca, NODE), slot(&ca, OTHER));
    let as_node = || client(&ca).with_identity(Arc::clone(&node));
    let as_other = || client(&ca).with_identity(Arc::clone(&other));

    let _first = served(&running, as_node()).await.expect("one of two");
    let _second = served(&running, as_node()).await.expect("two of two");
    let third = served(&running, as_node()).await.expect("a stranger, for the member has two");
    assert!(served(&running, client(&ca)).await.is_none(), "the address has one stranger");
    drop(third);
    let freed = async {
        loop {
            if let Some(other) = served(&running, as_other()).await {
                return other;
            }
        }
    };
    let _other = soon(freed).await;
    let _stranger = served(&running, as_other()).await.expect("a stranger: members have three");
    assert!(served(&running, client(&ca)).await.is_none(), "the address has one stranger");
}

#[tokio::test]
async fn a_member_may_rest_longer_than_a_stranger_while_there_is_room() {
    let ca = Ca::new(DOMAIN);
    let limits = Limits::new().with_idle(SHORT).with_member_idle(4 * SHORT).with_members(2);
    let running = known(&ca, limits).await;
    let node = slot(&ca, NODE);
    let mut member = served(&running, client(&ca).with_identity(Arc::clone(&node))).await.unwrap();
    let mut stranger = served(&running, client(&ca)).await.unwrap();
    let began = Instant::now();
    until_closed(&mut stranger).await;
    assert!(began.elapsed() < 3 * SHORT, "{:?}", began.elapsed());
    // With this one more than half of the places are taken.
    let mut crowd = served(&running, client(&ca).with_identity(node)).await.unwrap();
    until_closed(&mut crowd).await;
    assert!(began.elapsed() < 3 * SHORT, "{:?}", began.elapsed());
    until_closed(&mut member).await;
    assert!(began.elapsed() >= 3 * SHORT, "{:?}", began.elapsed());
}
