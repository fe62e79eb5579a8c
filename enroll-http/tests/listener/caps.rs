//! How many connections there may be.

use std::time::Duration;

use enroll_http::server::Limits;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::common::{Running, soon};
use super::{GET, hello, is_served, send, status_line, until_closed};

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
