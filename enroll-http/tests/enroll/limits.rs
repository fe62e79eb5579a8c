//! How often an address may call, and what is counted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use enroll_core::master::{Enroller, Observer};
use enroll_core::model::{Event, Method, Reason};
use enroll_http::server::{AddressLimiter, EnrollOptions, Proxies};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::common::fleet::{Answer, Fleet, Machine, Setup};
use crate::common::soon;

#[derive(Default)]
struct Seen(Mutex<Vec<Result<Method, Reason>>>);

impl Observer for Seen {
    fn event(&self, _: &Event) {}

    fn answered(&self, outcome: Result<Method, Reason>, _: Duration) {
        self.0.lock().unwrap().push(outcome);
    }
}

#[tokio::test]
async fn the_eleventh_attempt_waits_as_long_as_it_is_told() {
    let seen = Arc::new(Seen::default());
    let observer = Arc::clone(&seen);
    let fleet = Fleet::with(Setup {
        limiter: AddressLimiter::default(),
        master: Box::new(move |enroller: Enroller| enroller.with_observer(observer)),
        ..Setup::default()
    })
    .await;
    let (client, token) = (fleet.stranger(), fleet.mint_one_shot().await);
    for _ in 0..10 {
        assert_eq!(client.raw("{}").await.reason(), "bad_request");
    }
    let good = Machine::new().request(&token, "worker-1");
    let answer = client.enroll(&good).await;
    answer.assert_problem(429);
    assert_eq!((answer.reason(), answer.header("retry-after")), ("rate_limited", Some("6")));

    fleet.clock.advance(Duration::from_millis(5_500));
    assert_eq!(client.enroll(&good).await.header("retry-after"), Some("1"), "rounded up");
    fleet.clock.advance(Duration::from_millis(500));
    let answer = client.enroll(&good).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);

    let mut expected = vec![Err(Reason::BadRequest); 10];
    expected.extend([Err(Reason::RateLimited), Err(Reason::RateLimited), Ok(Method::Token)]);
    assert_eq!(*seen.0.lock().unwrap(), expected, "each is counted once");
}

#[tokio::test]
async fn who_is_over_the_rate_is_answered_before_its_body_is_read() {
    let setup = Setup { limiter: AddressLimiter::new(1), ..Setup::default() };
    let fleet = Fleet::with(setup).await;
    assert_eq!(fleet.stranger().raw("{}").await.reason(), "bad_request");
    let mut stream =
        crate::common::dial(fleet.enroll.addr, fleet.tls(None).config().unwrap()).await.unwrap();
    let head = "POST /v1/enroll HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 429");
}

#[tokio::test]
async fn only_what_asks_to_enroll_is_counted() {
    let setup = Setup { limiter: AddressLimiter::new(1), ..Setup::default() };
    let fleet = Fleet::with(setup).await;
    let client = fleet.stranger();
    for path in ["/v1/ca", "/healthz", "/readyz"] {
        for _ in 0..3 {
            assert_eq!(client.get(path).await.status, StatusCode::OK, "{path}");
        }
    }
    assert_eq!(client.get("/v1/enroll").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.raw("{}").await.reason(), "bad_request");
    assert_eq!(client.raw("{}").await.reason(), "rate_limited");
}

async fn claiming(fleet: &Fleet, from: &str) -> Answer {
    let request = fleet.stranger().http.post(fleet.enroll.url("https", "/v1/enroll"));
    Answer::of(request.header("x-forwarded-for", from).body(json!({}).to_string())).await
}

#[tokio::test]
async fn a_header_moves_nobody_to_another_bucket_unless_its_proxy_is_known() {
    let setup = Setup { limiter: AddressLimiter::new(2), ..Setup::default() };
    let fleet = Fleet::with(setup).await;
    let mut reasons = Vec::new();
    for n in 0..4 {
        reasons.push(claiming(&fleet, &format!("203.0.113.{n}")).await.reason().to_owned());
    }
    assert_eq!(reasons, ["bad_request", "bad_request", "rate_limited", "rate_limited"]);

    let proxies = Arc::new(Proxies::parse(["127.0.0.0/8"]).unwrap());
    let options = move |options: EnrollOptions| options.with_proxies(proxies);
    let fleet = Fleet::with(Setup {
        limiter: AddressLimiter::new(2),
        options: Box::new(options),
        ..Setup::default()
    })
    .await;
    for n in 0..4 {
        let answer = claiming(&fleet, &format!("203.0.113.{n}")).await;
        assert_eq!(answer.reason(), "bad_request", "each has a bucket of its own");
    }
    for (n, reason) in ["bad_request", "bad_request", "rate_limited"].iter().enumerate() {
        let answer = claiming(&fleet, &format!("203.0.113.{n}, 198.51.100.7")).await;
        assert_eq!(answer.reason(), *reason, "what stands before the last hop is invented");
    }
}

#[tokio::test]
async fn the_address_that_counts_is_the_one_on_record() {
    let proxies = Arc::new(Proxies::parse(["127.0.0.1"]).unwrap());
    let options = move |options: EnrollOptions| options.with_proxies(proxies);
    let fleet = Fleet::with(Setup { options: Box::new(options), ..Setup::default() }).await;
    let token = fleet.mint_one_shot().await;
    let body = Machine::new().request(&token, "worker-1").to_string();
    let request = fleet.stranger().http.post(fleet.enroll.url("https", "/v1/enroll"));
    let request = request.header("x-forwarded-for", "1.1.1.1, 198.51.100.7").body(body);
    assert_eq!(Answer::of(request).await.status, StatusCode::OK);
    let page = enroll_core::store::Page::first(1);
    let redemptions = fleet.enroller.redemptions(token.id(), page).await.unwrap();
    assert_eq!(redemptions[0].source_ip, Some([198, 51, 100, 7].into()));
}
