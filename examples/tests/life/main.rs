//! What becomes of a node once it is a member, over the real programs.

#[path = "../harness/mod.rs"]
mod harness;

mod commands;
mod fuse;
mod listen;
mod observed;
mod renewal;

use harness::{Machine, Master, Serving, in_time};
use serde_json::{Value, json};

/// A machine that has enrolled as `worker-1` and whose worker does not run: a test speaks for it.
fn member(master: &Master) -> Machine {
    let added = master.json(&["node", "add", "worker-1"]);
    let machine = Machine::new();
    let said = machine.bootstrap(master, added["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    machine
}

/// A heartbeat as the worker of `machine` sends it; what the node is to do.
async fn beat(machine: &Machine, master: &Master) -> Vec<Value> {
    let beat = json!({"node_name": "worker-1"});
    let answer = machine.member(master).post("/v1/self/heartbeat", &beat).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["commands"].as_array().expect("a list").clone()
}

/// Waits until the node is what `wanted` looks for, while its worker runs.
async fn node_is(
    master: &Master,
    worker: &mut Serving<'_>,
    what: &str,
    wanted: impl Fn(&Value) -> bool + Send + Sync,
) -> Value {
    in_time(what, async || {
        assert!(worker.runs(), "the worker ended");
        let node = master.node("worker-1").await;
        wanted(&node).then_some(node)
    })
    .await
}

/// Waits for an event of this kind; the newest.
async fn event(master: &Master, kind: &str) -> Value {
    in_time(kind, async || {
        let events = master.json(&["events", "--all"]);
        let items = events["items"].as_array().expect("a list");
        items.iter().rev().find(|event| event["type"] == kind).cloned()
    })
    .await
}

/// Whether a line of the master's metrics is this one.
async fn counted(master: &Master, line: &str) -> bool {
    let scraped = master.api().get("/metrics").await.body;
    scraped.as_str().expect("a text").lines().any(|counted| counted == line)
}
