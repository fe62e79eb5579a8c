//! What a machine is told when the store behind the master fails, and what it costs.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use enroll_core::model::{Reason, SharedSecret};
use enroll_core::store::{Page, StoreErrorKind};
use enroll_core::testing::{Fault, Operation};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::common::fleet::{Fleet, Machine, Setup};
use crate::common::schema::assert_fits;
use crate::common::{dial, soon};

async fn uses(fleet: &Fleet) -> u64 {
    fleet.enroller.tokens(Page::first(1), true).await.unwrap()[0].uses
}

#[tokio::test]
async fn a_store_that_is_away_costs_nobody_a_token() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Broken] {
        for operation in [Operation::LookUp, Operation::Redeem] {
            let fleet = Fleet::start().await;
            let request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
            fleet.store.script(operation, [Fault::Before(kind)]);
            let answer = fleet.stranger().enroll(&request).await;
            answer.assert_problem(503);
            assert_eq!(answer.reason(), Reason::Unavailable.code());
            assert_eq!(answer.header("retry-after"), Some("5"));
            assert_eq!(uses(&fleet).await, 0);
            let answer = fleet.stranger().enroll(&request).await;
            assert_eq!(
                (answer.status, &answer.body["redelivered"]),
                (StatusCode::OK, &json!(false))
            );
        }
    }
}

#[tokio::test]
async fn an_answer_of_the_store_that_was_lost_is_made_good_by_the_retry() {
    let fleet = Fleet::start().await;
    let request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    fleet.store.script(Operation::Redeem, [Fault::After(StoreErrorKind::Unavailable)]);
    fleet.stranger().enroll(&request).await.assert_problem(503);
    let answer = fleet.stranger().enroll(&request).await;
    assert_eq!((answer.status, &answer.body["redelivered"]), (StatusCode::OK, &json!(true)));
    assert_eq!(uses(&fleet).await, 1);
}

#[tokio::test]
async fn what_can_be_refused_without_the_store_does_not_reach_it() {
    let secret = SharedSecret::configured("0123456789abcdef0123456789abcdef".into()).unwrap();
    let master =
        move |enroller: enroll_core::master::Enroller| enroller.with_cluster_secret(&secret);
    let fleet = Fleet::with(Setup { master: Box::new(master), ..Setup::default() }).await;
    let good = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    for (token, secret, reason) in [
        (good["token"].clone(), json!("wrong"), "bad_secret"),
        (json!("mistyped"), json!("0123456789abcdef0123456789abcdef"), "invalid_token"),
        (good["token"].clone(), json!(null), "bad_request"),
    ] {
        let mut request = good.clone();
        (request["token"], request["shared_secret"]) = (token, secret);
        assert_eq!(fleet.stranger().enroll(&request).await.reason(), reason);
    }
    assert_eq!(fleet.store.calls(Operation::LookUp), 0);
}

#[tokio::test]
async fn a_request_is_judged_to_its_end_even_where_its_connection_breaks() {
    let fleet = Fleet::start().await;
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (Arc::clone(&reached), Arc::clone(&go_on));
    let wait = Fault::rival(move |_| async move {
        gate.0.notify_one();
        gate.1.notified().await;
    });
    fleet.store.script(Operation::Redeem, [wait]);
    let body = Machine::new().request(&fleet.mint_one_shot().await, "worker-1").to_string();
    let mut stream = dial(fleet.enroll.addr, fleet.tls(None).config().unwrap()).await.unwrap();
    let head =
        format!("POST /v1/enroll HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    soon(reached.notified()).await;
    drop(stream);
    fleet.enroll.stop().await;
    go_on.notify_one();
    let spent = async {
        loop {
            let tokens = fleet.enroller.tokens(Page::first(1), true).await.unwrap();
            if tokens[0].uses == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(spent).await;
}

#[tokio::test]
async fn a_master_whose_store_is_away_is_not_ready_and_says_so() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    fleet.store.script(Operation::Probe, [Fault::Before(StoreErrorKind::Unavailable)]);
    for _ in 0..2 {
        let answer = client.get("/readyz").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_fits("Ready", &answer.body);
        assert_eq!(
            answer.body,
            json!({"ready": false,
                "reason": "The store does not answer: the master cannot decide at the moment."})
        );
    }
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK, "it lives all the same");
    fleet.clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        assert_eq!(client.get("/readyz").await.status, StatusCode::OK);
    }
    assert_eq!(fleet.store.calls(Operation::Probe), 2, "at most once a second");
    fleet.clock.danger_set_back(crate::common::fleet::START);
    assert_eq!(client.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(fleet.store.calls(Operation::Probe), 3, "a clock set back keeps no answer for ever");
}
