//! How many new connections are worked on at once.

use std::time::Duration;

use axum::Router;
use axum::middleware::map_request;
use axum::routing::get;
use enroll_http::server::{Limits, long_lived};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::common::{Running, soon};
use super::{GET, hello, is_served, send, status_line};

async fn one_at_a_time() -> Running {
    let limits = Limits::new().with_at_once(1);
    Running::start(hello(), |l| l.with_limits(limits)).await
}

#[tokio::test]
async fn who_says_nothing_and_who_has_an_answer_have_no_turn() {
    let running = one_at_a_time().await;
    let _silent = (send(running.addr, b"").await, send(running.addr, b"").await);
    let mut kept = send(running.addr, GET).await;
    assert_eq!(status_line(&mut kept).await, "HTTP/1.1 200 OK");
    let asked = Instant::now();
    assert!(is_served(running.addr).await);
    assert!(asked.elapsed() < Duration::from_secs(2), "nobody's turn had to run out");
}

#[tokio::test]
async fn a_stream_that_lasts_has_no_turn() {
    let limits = Limits::new().with_at_once(1);
    let router = Router::new()
        .route("/stream", get(std::future::pending::<()>))
        .layer(map_request(long_lived))
        .merge(hello());
    let running = Running::start(router, |l| l.with_limits(limits)).await;
    let _stream = send(running.addr, b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Only then is it sure that it was the first.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    assert!(is_served(running.addr).await);
    assert!(asked.elapsed() < Duration::from_secs(1), "nobody's turn had to run out");
}

#[tokio::test]
async fn who_stalls_holds_the_others_up_for_seconds_at_most_and_is_not_cut_for_it() {
    let running = one_at_a_time().await;
    let mut stalled = send(running.addr, &GET[..5]).await;
    // Only then is it sure that it was the first.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    assert!(soon(is_served(running.addr)).await);
    assert!(asked.elapsed() > Duration::from_secs(1), "it was the other's turn");
    tokio::io::AsyncWriteExt::write_all(&mut stalled, &GET[5..]).await.unwrap();
    assert_eq!(soon(status_line(&mut stalled)).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn all_of_a_herd_have_their_turn() {
    let running = one_at_a_time().await;
    let mut herd = JoinSet::new();
    for _ in 0..200 {
        let addr = running.addr;
        herd.spawn(async move { is_served(addr).await });
    }
    assert!(soon(herd.join_all()).await.into_iter().all(|served| served));
}
