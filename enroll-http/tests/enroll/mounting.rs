//! What else the router serves, and where it can stand.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use enroll_core::master::Enroller;
use enroll_core::store::MemoryStore;
use enroll_http::server::{EnrollOptions, enroll_router, router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::fleet::{Answer, Fleet, Machine, Setup};

#[tokio::test]
async fn anyone_may_have_the_root_and_ask_after_health() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    let ca = client.get("/v1/ca").await;
    assert_eq!((ca.status, &*ca.text), (StatusCode::OK, fleet.authority.root_pem()));
    let fingerprint = fleet.authority.fingerprint().to_string();
    assert_eq!(ca.header("x-enroll-ca-fingerprint"), Some(&*fingerprint));
    assert_eq!(ca.header("content-type"), Some("application/pem-certificate-chain"));
    for (path, schema, body) in [
        ("/healthz", "Alive", json!({"status": "ok"})),
        ("/readyz", "Ready", json!({"ready": true})),
    ] {
        for answer in [client.get(path).await, client.get_steady(path).await] {
            answer.assert_ok(schema);
            assert_eq!(answer.body, body);
        }
    }
}

#[tokio::test]
async fn what_the_document_has_is_answered_where_it_says() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    let document: Value = serde_json::from_str(enroll_http::server::OPENAPI).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let tags = operation["tags"].as_array().unwrap();
            for (tag, listener) in [("enroll", &fleet.enroll), ("steady", &fleet.steady)] {
                let method = method.to_uppercase().parse().unwrap();
                let answer = Answer::of(client.http.request(method, listener.url("https", path)));
                let status = answer.await.status.as_u16();
                let known = status != 404 && status != 405;
                assert_eq!(known, tags.contains(&json!(tag)), "{path} on {tag}: {status}");
                asked += usize::from(known);
            }
        }
    }
    assert!(asked >= 11, "{asked}");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_like_any_other() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    for path in ["/", "/v1", "/v1/enroll/", "/v1/tokens", "/v1/self"] {
        let answer = client.get(path).await;
        answer.assert_problem(404);
        assert_eq!(answer.body["code"], "not_found", "{path}");
        assert_eq!(answer.body["type"], "urn:enroll:error:not_found");
    }
    let answer = client.get("/v1/enroll").await;
    answer.assert_problem(405);
    assert_eq!(answer.body["code"], "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_master_without_a_root_has_none_to_show() {
    let enroller = Enroller::with_issuers(Arc::new(MemoryStore::new()), Vec::new());
    let (url, _server) = serve(router(enroller)).await;
    let answer = Answer::of(plain().get(format!("{url}/v1/ca"))).await;
    answer.assert_problem(404);
}

#[tokio::test]
async fn the_path_is_the_embedders() {
    let options = |options: EnrollOptions| options.with_path("/api/enroll").unwrap();
    let fleet = Fleet::with(Setup { options: Box::new(options), ..Setup::default() }).await;
    let client = fleet.stranger();
    let body = Machine::new().request(&fleet.mint_one_shot().await, "worker-1").to_string();
    assert_eq!(client.raw(body.clone()).await.status, StatusCode::NOT_FOUND);
    let request = client.http.post(fleet.enroll.url("https", "/api/enroll")).body(body);
    assert_eq!(Answer::of(request).await.status, StatusCode::OK);
}

#[test]
fn a_path_that_cannot_be_one_is_refused_before_it_is_routed() {
    for bad in [
        "", "/", "v1", "/a/", "//a", "/a//b", "/{x}", "/*a", "/a b", "/ä", "/a/../b", "/.", "/a?b",
        "/v1/ca", "/healthz", "/readyz",
    ] {
        assert!(EnrollOptions::new().with_path(bad).is_err(), "{bad:?}");
    }
    for good in ["/enroll", "/v1/nodes/join", "/a-b_c.d~e/0"] {
        let options = EnrollOptions::new().with_path(good).unwrap();
        let enroller = Enroller::with_issuers(Arc::new(MemoryStore::new()), Vec::new());
        let _routed: Router = enroll_router(enroller, options);
    }
}

#[tokio::test]
async fn the_router_stands_in_an_application_served_by_axum() {
    let fleet = Fleet::start().await;
    let app = Router::new()
        .route("/", get(async || "the embedder's own"))
        .nest("/fleet", router(Arc::clone(&fleet.enroller)));
    let (url, _server) = serve(app).await;
    let post = |body: Value| {
        Answer::of(plain().post(format!("{url}/fleet/v1/enroll")).body(body.to_string()))
    };
    let token = fleet.mint_one_shot().await;
    let answer = post(Machine::new().request(&token, "worker-1")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let page = enroll_core::store::Page::first(1);
    let redemptions = fleet.enroller.redemptions(token.id(), page).await.unwrap();
    assert_eq!(redemptions[0].source_ip, Some([127, 0, 0, 1].into()), "axum's own address counts");
    for _ in 0..9 {
        assert_eq!(post(json!({})).await.reason(), "bad_request");
    }
    assert_eq!(post(json!({})).await.reason(), "rate_limited");

    let own = plain().get(format!("{url}/")).send().await.unwrap();
    assert_eq!(own.text().await.unwrap(), "the embedder's own");
    let ca = Answer::of(plain().get(format!("{url}/fleet/v1/ca"))).await;
    assert_eq!(ca.text, fleet.authority.root_pem());
    let missing = Answer::of(plain().get(format!("{url}/fleet/missing"))).await;
    missing.assert_problem(404);
}

fn plain() -> reqwest::Client {
    let pinned = enroll_http::tls::PinnedVerifier::new([]);
    let config = enroll_http::tls::ClientTls::new(Arc::new(pinned)).config().unwrap();
    let options = enroll_http::tls::HttpOptions::new().danger_allow_plaintext();
    enroll_http::tls::http_client(config, &options).unwrap()
}

/// Serves with axum's own listener.
async fn serve(app: Router) -> (String, tokio::task::JoinHandle<()>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", tcp.local_addr().unwrap());
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    (url, tokio::spawn(async move { axum::serve(tcp, service).await.unwrap() }))
}
