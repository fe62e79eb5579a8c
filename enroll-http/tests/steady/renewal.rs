//! A new identity for the same node, while the old one is good.

use axum::http::StatusCode;
use serde_json::json;

use crate::common::fleet::{Answer, Fleet, Machine, Setup, leaf};

#[tokio::test]
async fn the_same_request_gets_the_same_leaf_and_another_replaces_what_was_not_used() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    let (unused, used) = (Machine::new(), Machine::new());
    let wish = json!({"csr": unused.csr()});
    let first = member.post_steady("/v1/self/renew", &wish).await;
    first.assert_ok("RenewAnswer");
    assert_eq!(first.body.as_object().unwrap().len(), 1);
    let again = member.post_steady("/v1/self/renew", &wish).await;
    assert_eq!(again.certificate(), first.certificate());
    assert_eq!(leaf(&first.certificate()).id(), leaf(&certificate).id());

    let second = member.post_steady("/v1/self/renew", &json!({"csr": used.csr()})).await;
    fleet.member(&unused, &first.certificate()).get_steady("/v1/self").await.assert_unauthorized();
    assert_eq!(member.get_steady("/v1/self").await.status, StatusCode::OK, "the old one is good");
    let successor = fleet.member(&used, &second.certificate());
    assert_eq!(successor.get_steady("/v1/self").await.status, StatusCode::OK);
    member.get_steady("/v1/self").await.assert_unauthorized();
}

#[tokio::test]
async fn a_renewal_may_keep_the_key() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    let answer = member.post_steady("/v1/self/renew", &json!({"csr": machine.csr()})).await;
    let renewed = answer.certificate();
    assert_ne!(leaf(&renewed).serial(), leaf(&certificate).serial());
    let member = fleet.member(&machine, &renewed);
    assert_eq!(member.get_steady("/v1/self").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_is_not_renewed_without_a_request_that_holds() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    for (wish, reason) in [
        (json!({}), "bad_request"),
        (json!({"csr": null}), "bad_request"),
        (json!({"csr": 7}), "bad_request"),
        (json!([]), "bad_request"),
        (json!({"csr": ""}), "bad_csr"),
        (json!({"csr": certificate}), "bad_csr"),
    ] {
        let answer = member.post_steady("/v1/self/renew", &wish).await;
        answer.assert_problem(400);
        assert_eq!(answer.reason(), reason, "{wish}");
    }
}

#[tokio::test]
async fn an_api_key_is_renewed_by_a_request_without_a_body() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (_, _, enrolled) = fleet.enrolled("worker-1").await;
    let old = enrolled["credentials"][1]["key"].as_str().unwrap();
    let client = fleet.stranger();
    let renew = async |key: &str, body: &'static str| {
        let request = client.steady(reqwest::Method::POST, "/v1/self/renew");
        Answer::of(request.bearer_auth(key).body(body)).await
    };
    let _earlier = renew(old, "null").await.api_key();
    let unused = renew(old, "").await.api_key();
    let new = renew(old, "{}").await.api_key();
    let me = async |key: &str| {
        Answer::of(client.steady(reqwest::Method::GET, "/v1/self").bearer_auth(key)).await
    };
    me(&unused).await.assert_unauthorized();
    assert_eq!(me(old).await.status, StatusCode::OK);
    assert_eq!(me(&new).await.status, StatusCode::OK);
    me(old).await.assert_unauthorized();
}
