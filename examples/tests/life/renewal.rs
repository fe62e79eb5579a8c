//! An identity over time: renewed, recovered after it ran out, revoked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Api, Machine, Master, in_time};
use crate::{event, member, node_is};

/// A master whose certificates live so long.
fn master(secs: &str) -> Master {
    Master::start(&["--leaf-lifetime-secs", secs, "--heartbeat-interval-secs", "1"])
}

fn leaf(machine: &Machine) -> String {
    machine.file("agent.crt")
}

/// Waits until the certificate of `machine` has run out.
async fn run_out(machine: &Machine) {
    let identity: Value = serde_json::from_str(&machine.file("identity.json")).expect("JSON");
    let end = identity["not_after"].as_i64().expect("an instant in milliseconds");
    in_time("the end of the certificate", async || {
        let now = enroll_core::model::Clock::now(&enroll_core::model::SystemClock::new());
        (now.unix_millis() > end).then_some(())
    })
    .await;
}

#[tokio::test]
async fn d2_a_certificate_is_renewed_at_two_thirds_of_its_life_with_a_new_key() {
    let master = master("15");
    let began = Instant::now();
    let machine = member(&master);
    let (first, key, node_id) = (leaf(&machine), machine.file("agent.key"), machine.node_id());
    let old = machine.member(&master);
    let mut worker = machine.start(&["serve"]);
    in_time("a renewal", async || {
        assert!(worker.runs(), "{}", machine.log());
        (leaf(&machine) != first).then_some(())
    })
    .await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(9), "at two thirds and not before: {took:?}");
    assert_ne!(machine.file("agent.key"), key);
    assert_eq!(machine.node_id(), node_id);
    in_time("the end of the overlap", async || {
        let answer = old.get("/v1/self").await;
        (answer.status == 401).then_some(())
    })
    .await;
    node_is(&master, &mut worker, "ready", |node| node["health"] == "ready").await;
    let renewed = event(&master, "renewed").await;
    assert_eq!((&renewed["recovered"], &renewed["node_name"]), (&json!(false), &json!("worker-1")));
}

#[tokio::test]
async fn d2_a_machine_that_was_off_past_its_expiry_comes_back_by_itself() {
    let master = master("3");
    let machine = member(&master);
    run_out(&machine).await;
    let (expired, node_id) = (leaf(&machine), machine.node_id());
    let mut worker = machine.start(&["serve"]);
    node_is(&master, &mut worker, "ready", |node| node["health"] == "ready").await;
    assert_ne!(leaf(&machine), expired);
    assert_eq!(machine.node_id(), node_id, "no new node, and no token was needed");
    assert_eq!(event(&master, "renewed").await["recovered"], true);
}

#[tokio::test]
async fn d2_a_machine_that_was_revoked_meanwhile_does_not_come_back() {
    let master = master("3");
    let machine = member(&master);
    run_out(&machine).await;
    assert_eq!(master.cli(&["node", "delete", "worker-1"]).code, 0);
    let (expired, key) = (leaf(&machine), machine.file("agent.key"));
    let mut worker = machine.start(&["serve"]);
    assert_eq!(worker.ended(), 7, "{}", machine.log());
    assert_eq!((leaf(&machine), machine.file("agent.key")), (expired, key), "nothing is discarded");
    assert_eq!(master.cli(&["node", "get", "worker-1"]).code, 1);
}

#[tokio::test]
async fn d2_an_api_key_renews_and_the_old_one_ends_when_the_new_one_is_used() {
    let master = Master::start(&["--issue", "api_key"]);
    let machine = member(&master);
    let api = |key: &str| {
        let steady = format!("https://{}", master.ready("steady_addr"));
        Api::new(&steady, &machine.file("ca.crt"), Some(key))
    };
    let (key, path) = (machine.file("api_key"), "/v1/self");
    let old = api(key.trim());
    let renewed = old.post("/v1/self/renew", &json!({})).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let new = renewed.body["credentials"][0]["key"].as_str().expect("a key").to_owned();
    assert_ne!(new, key.trim());
    assert_eq!(old.get(path).await.status, 200, "until the new one is used");
    assert_eq!(api(&new).get(path).await.status, 200);
    assert_eq!(old.get(path).await.status, 401);
}
