//! Heartbeats, and the node as it sees itself.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use crate::common::fleet::{DAY, Fleet, Setup, name};

#[tokio::test]
async fn a_heartbeat_is_answered_with_the_clock_and_the_pace() {
    let fleet = Fleet::start().await;
    let (machine, certificate, enrolled) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    fleet.clock.advance(Duration::from_secs(1));
    let beat = json!({"node_name": "worker-1", "facts": {"version": "1.2.3"}});
    let answer = member.post_steady("/v1/self/heartbeat", &beat).await;
    answer.assert_ok("HeartbeatAnswer");
    assert_eq!(
        answer.body,
        json!({"server_time": "2027-01-15T08:00:01Z", "heartbeat_interval_secs": 30,
            "renew": false, "commands": []})
    );

    let me = member.get_steady("/v1/self").await;
    me.assert_ok("NodeView");
    assert_eq!((&me.body["id"], &me.body["name"]), (&enrolled["node_id"], &json!("worker-1")));
    assert_eq!((&me.body["state"], &me.body["health"]), (&json!("monitoring"), &json!("ready")));
    assert_eq!(me.body["facts"], json!({"version": "1.2.3"}));
    assert_eq!(me.body["last_seen_at"], "2027-01-15T08:00:01Z");
    fleet.clock.advance(Duration::from_secs(90));
    let silent = member.get_steady("/v1/self").await;
    silent.assert_ok("NodeView");
    assert_eq!(
        (&silent.body["state"], &silent.body["last_state"]),
        (&json!("degraded"), &json!("monitoring"))
    );
}

#[tokio::test]
async fn a_certificate_past_two_thirds_of_its_life_is_to_be_renewed() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let beat = json!({"node_name": "worker-1"});
    let member = fleet.member(&machine, &certificate);
    let renew =
        async || member.post_steady("/v1/self/heartbeat", &beat).await.body["renew"].clone();
    fleet.clock.advance(19 * DAY);
    assert_eq!(renew().await, false);
    fleet.clock.advance(DAY);
    assert_eq!(renew().await, true);
}

#[tokio::test]
async fn the_name_in_a_heartbeat_is_compared_and_never_used() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let (_, _, _) = fleet.enrolled("worker-2").await;
    let member = fleet.member(&machine, &certificate);
    let foreign = json!({"node_name": "worker-2", "facts": {"os": "plan9"}});
    let answer = member.post_steady("/v1/self/heartbeat", &foreign).await;
    answer.assert_problem(403);
    assert_eq!(answer.reason(), "name_mismatch");
    for node in ["worker-1", "worker-2"] {
        let node = fleet.enroller.node(&name(node)).await.unwrap();
        assert_eq!((node.last_seen_at, node.facts.os), (None, None));
    }
}

#[tokio::test]
async fn a_heartbeat_that_is_none_is_bad_and_counts_for_nothing() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    for bad in [
        json!({}),
        json!([]),
        json!({"node_name": ""}),
        json!({"node_name": null}),
        json!({"node_name": ["worker-1"]}),
        json!({"node_name": "worker-1", "facts": []}),
        json!({"node_name": "worker-1", "facts": {"os": "x".repeat(1025)}}),
        json!({"node_name": "worker-1", "facts": {"labels": {"k": 1}}}),
        json!({"node_name": "worker-1", "facts": {"gpus": vec![1; 1000]}}),
        json!({"node_name": "worker-1", "facts": {"gpus": "x".repeat(33 * 1024)}}),
        json!({"node_name": "worker-1", "padding": "x".repeat(64 * 1024)}),
    ] {
        let answer = member.post_steady("/v1/self/heartbeat", &bad).await;
        answer.assert_problem(400);
        assert_eq!(answer.reason(), "bad_request");
    }
    let node = fleet.enroller.node(&name("worker-1")).await.unwrap();
    assert_eq!(node.last_seen_at, None);
}

#[tokio::test]
async fn an_api_key_is_as_good_as_a_certificate() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (_, _, enrolled) = fleet.enrolled("worker-1").await;
    let key = enrolled["credentials"][1]["key"].as_str().unwrap();
    let beat = fleet.stranger().steady(reqwest::Method::POST, "/v1/self/heartbeat");
    let beat = beat.bearer_auth(key).body(json!({"node_name": "worker-1"}).to_string());
    let answer = crate::common::fleet::Answer::of(beat).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(!answer.text.contains(key));
}
