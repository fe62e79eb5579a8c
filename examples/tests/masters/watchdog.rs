//! The watchdog over attempts to fuse is one master's at a time, and the next one's when it dies.

use enroll_store_postgres::testing::{fresh_url, shared};
use serde_json::json;

use crate::harness::{Home, Machine, Master, in_time};

#[tokio::test]
async fn i12_a_watchdog_whose_master_dies_is_taken_over() {
    let url = fresh_url(shared());
    let args = ["--store", &url, "--fuser", "builtin", "--fuse-deadline-secs", "2"];
    let first = Master::start(&args);
    let (_, schema) = url.rsplit_once("%3D").expect("a schema of its own");
    let holder = format!("SELECT holder FROM {schema}.enroll_duties WHERE duty = 'watchdog'");
    let holder = || shared().sql(&holder).expect("it can be read");
    let its = in_time("the duty", async || Some(holder()).filter(|id| !id.is_empty())).await;

    let second = Home::of_the_fleet_of(&first).start(&args);
    let token = second.mint(json!({"max_uses": 1})).await;
    let text = token["token"].as_str().expect("a token");
    let machine = Machine::new();
    let said = machine.bootstrap(&second, text, &["--node-name", "worker-1"]);
    assert_eq!(said.code, 0, "{said:?}");
    let beat = json!({"node_name": "worker-1"});
    assert_eq!(machine.member(&second).post("/v1/self/heartbeat", &beat).await.status, 200);
    assert_eq!(holder(), its, "who has it keeps it");

    let fused = second.api().post("/v1/nodes/worker-1/fuse", &json!({})).await;
    assert_eq!(fused.status, 202, "{fused:?}");
    drop(first.kill());
    // The worker never does its part, so only a watchdog can end this.
    in_time("the end of the attempt", async || {
        (second.node("worker-1").await["state"] == "monitoring").then_some(())
    })
    .await;
    assert_ne!(holder(), its, "the other has taken it over");
    let events = second.json(&["events", "--all"]);
    let items = events["items"].as_array().expect("a list");
    let failed = items.iter().filter(|event| event["type"] == "fuse_failed").collect::<Vec<_>>();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["source"], "watchdog_timeout");
}
