//! How much of a body is read, and for how long.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::routing::post;
use enroll_http::server::{BodyDeadline, BodyError, read_body};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::common::{Running, soon};
use super::{SHORT, send, status_line, until_closed};

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
