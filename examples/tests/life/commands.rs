//! Commands that wait for a node to listen.

use serde_json::{Value, json};

use crate::harness::{Machine, Master, in_time};
use crate::{event, node_is};

fn statuses(commands: &Value) -> Vec<(String, String)> {
    let items = commands["items"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    items.iter().map(|command| (text(&command["kind"]), text(&command["status"]))).collect()
}

#[tokio::test]
async fn a16_what_is_asked_of_a_degraded_node_waits_until_it_returns() {
    let master = Master::start(&["--stale-threshold-secs", "2", "--heartbeat-interval-secs", "1"]);
    let added = master.json(&["node", "add", "worker-1"]);
    let machine = Machine::new();
    let said = machine.bootstrap(&master, added["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut worker = machine.start(&["serve"]);
    node_is(&master, &mut worker, "ready", |node| node["health"] == "ready").await;
    drop(worker);
    let node = in_time("silence to be noticed", async || {
        let node = master.node("worker-1").await;
        (node["state"] == "degraded").then_some(node)
    })
    .await;
    assert_eq!(node["last_state"], "monitoring", "what is beneath is kept");
    let fuse = master.cli(&["node", "fuse", "worker-1"]);
    assert_eq!(fuse.code, 1, "{fuse:?}");

    let payload = ["--send", "ping", "--payload", "{\"n\":1}"];
    master.json(&[&["node", "commands", "worker-1"][..], &payload].concat());
    master.json(&["node", "commands", "worker-1", "--send", "facts"]);
    let wait = |kind: &str| (kind.to_owned(), "queued".to_owned());
    let waiting = master.json(&["node", "commands", "worker-1"]);
    assert_eq!(statuses(&waiting), [wait("facts"), wait("ping")], "newest first");

    let mut worker = machine.start(&["serve"]);
    let commands = in_time("both to be done", async || {
        assert!(worker.runs(), "{}", machine.log());
        let commands = master.json(&["node", "commands", "worker-1"]);
        statuses(&commands).iter().all(|(_, status)| status == "done").then_some(commands)
    })
    .await;
    let items = commands["items"].as_array().expect("a list");
    assert_eq!((&items[1]["output"], &items[1]["payload"]), (&json!("pong"), &json!({"n": 1})));
    assert!(items[0]["output"].as_str().is_some_and(|facts| facts.contains("arch")), "{items:?}");
    node_is(&master, &mut worker, "monitoring", |node| node["state"] == "monitoring").await;
    assert_eq!(event(&master, "command_queued").await["actor"], "admin");
    assert_eq!(event(&master, "command_finished").await["status"], "done");
}
