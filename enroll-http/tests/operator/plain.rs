//! What needs no token, and what is no call at all.

use enroll_core::model::Fingerprint;
use enroll_http::server::{OPENAPI, OperatorOptions};
use http::Method;
use serde_json::Value;

use crate::support::{MOUNT, Master};

#[tokio::test]
async fn anyone_may_have_the_root_and_the_document() {
    let master = Master::start().await;
    let ca = master.ask(Method::GET, "/v1/ca", None, "").await.is(200);
    assert_eq!(ca.text, master.authority.root_pem());
    let fingerprint: Fingerprint =
        ca.headers["x-enroll-ca-fingerprint"].to_str().unwrap().parse().unwrap();
    assert_eq!(fingerprint, master.authority.fingerprint());
    let document = master.ask(Method::GET, "/openapi.json", None, "").await.is(200);
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.json, serde_json::from_str::<Value>(OPENAPI).unwrap());
    assert_eq!(document.json["openapi"], "3.1.0");
    for path in ["/healthz", "/readyz"] {
        master.ask(Method::GET, path, None, "").await.is(200);
    }
}

#[tokio::test]
async fn what_is_no_call_is_a_problem_too() {
    let master = Master::start().await;
    for path in ["/", "/v1", "/v1/", "/v1/nodes/", "/v1/nothing", "/v1/tokens/a/b/c"] {
        master.get(path).await.error(404, "not_found");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/v1/tokens", ["GET", "POST"]),
        (Method::PATCH, "/v1/nodes/worker-1", ["GET", "DELETE"]),
        (Method::DELETE, "/v1/ca", ["GET", "HEAD"]),
    ] {
        let answer = master.ask(method, path, None, "").await;
        let answer = answer.error(405, "method_not_allowed");
        let allow = answer.headers["allow"].to_str().unwrap();
        assert!(allowed.iter().all(|method| allow.contains(method)), "{allow}");
    }
}

#[tokio::test]
async fn an_embedder_mounts_the_api_under_a_path_of_its_own() {
    let mount = |router| axum::Router::new().nest("/fleets/{name}", router);
    let master = Master::start_with(OperatorOptions::new(), |config| config, mount).await;
    let made =
        master.post(&format!("{MOUNT}/v1/nodes"), serde_json::json!({ "name": "worker-1" })).await;
    made.is(201);
    let node = master.get(&format!("{MOUNT}/v1/nodes/worker-1")).await.is(200);
    assert_eq!(node.json["name"], "worker-1");
    master.get(&format!("{MOUNT}/v1/nodes")).await.is(200);
    master.get(&format!("{MOUNT}/v1/strange")).await.error(404, "not_found");
}
