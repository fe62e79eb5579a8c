//! The deliberate second step to full control.

use serde_json::{Value, json};

use crate::harness::{Home, Machine, Master, in_time};
use crate::{beat, counted, event, member, node_is};

fn master(deadline: &str) -> Master {
    Master::start(&flags(deadline))
}

fn flags(deadline: &str) -> [&str; 6] {
    ["--fuser", "builtin", "--fuse-deadline-secs", deadline, "--heartbeat-interval-secs", "1"]
}

fn can(node: &Value, action: &str) -> bool {
    node["actions"].as_array().expect("a list").contains(&json!(action))
}

/// A member that is fusing: the id of the command its worker was handed.
async fn fusing(master: &Master, machine: &Machine) -> String {
    beat(machine, master).await;
    assert_eq!(master.json(&["node", "fuse", "worker-1"])["state"], "fusing");
    let commands = beat(machine, master).await;
    let [command] = &commands[..] else { panic!("one command: {commands:?}") };
    assert_eq!(command["kind"], "fuse");
    command["id"].as_str().expect("an id").to_owned()
}

/// Says for `machine` how its command ended.
async fn report(master: &Master, machine: &Machine, id: &str, ended: Value) -> u16 {
    machine.member(master).post(&format!("/v1/self/commands/{id}"), &ended).await.status
}

/// Waits until the attempt has failed; what failed.
async fn failure(master: &Master) -> Value {
    in_time("the end of the attempt", async || {
        let node = master.node("worker-1").await;
        let failure = node["fuse"]["failure"].clone();
        assert!(failure.is_null() || node["state"] == "monitoring", "{node}");
        (!failure.is_null()).then_some(failure)
    })
    .await
}

#[tokio::test]
async fn a14_a15_an_operator_fuses_a_member_and_control_comes_with_it() {
    let master = master("300");
    let added = master.json(&["node", "add", "worker-1"]);
    assert!(!can(&added["node"], "fuse"));
    let said = master.cli(&["node", "fuse", "worker-1"]);
    assert_eq!(said.code, 1, "it is pending: {said:?}");

    let machine = Machine::new();
    let said = machine.bootstrap(&master, added["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut worker = machine.start(&["serve"]);
    let node = node_is(&master, &mut worker, "ready", |node| node["health"] == "ready").await;
    assert!(can(&node, "fuse") && can(&node, "command:monitor"), "{node}");
    assert!(!can(&node, "command:control"), "{node}");
    let early = master.cli(&["node", "commands", "worker-1", "--send", "restart"]);
    assert_eq!((early.code, early.err.contains("monitoring")), (1, true), "{early:?}");

    assert_eq!(master.json(&["node", "fuse", "worker-1"])["state"], "fusing");
    let node = node_is(&master, &mut worker, "fused", |node| node["state"] == "fused").await;
    assert!(can(&node, "command:control") && !can(&node, "fuse"), "{node}");
    assert_eq!(master.cli(&["node", "fuse", "worker-1"]).code, 1, "it is fused already");
    master.json(&["node", "commands", "worker-1", "--send", "restart"]);
    in_time("the restart", async || {
        let commands = master.json(&["node", "commands", "worker-1"]);
        (commands["items"][0]["status"] == "done").then_some(())
    })
    .await;
    assert_eq!(event(&master, "fuse_started").await["actor"], "admin");
    assert_eq!(event(&master, "fused").await["node_name"], "worker-1");
}

#[tokio::test]
async fn a15_a21_i12_the_watchdog_outlives_the_master_that_set_it() {
    let master = master("4");
    let machine = member(&master);
    beat(&machine, &master).await;
    master.json(&["node", "fuse", "worker-1"]);
    let home: Home = master.kill();
    let master = home.start(&flags("300"));
    let failure = failure(&master).await;
    assert_eq!(failure["source"], "watchdog_timeout");
    assert!(counted(&master, "fuse_failed_total{source=\"watchdog_timeout\"} 1").await);
    assert_eq!(event(&master, "fuse_failed").await["source"], "watchdog_timeout");
    let shown = master.cli(&["node", "get", "worker-1"]).out;
    assert!(shown.contains("watchdog_timeout"), "{shown}");
    assert!(beat(&machine, &master).await.is_empty(), "its command went with it");
}

#[tokio::test]
async fn a15_i12_a_success_after_the_deadline_is_refused_and_undone() {
    let master = master("2");
    let machine = member(&master);
    let id = fusing(&master, &machine).await;
    assert_eq!(failure(&master).await["source"], "watchdog_timeout");
    report(&master, &machine, &id, json!({"status": "done"})).await;
    let node = master.node("worker-1").await;
    assert_eq!(node["state"], "monitoring", "{node}");
    let commands = master.json(&["node", "commands", "worker-1"]);
    assert_eq!(commands["items"][0]["status"], "failed", "{commands}");
    assert_eq!(master.json(&["node", "fuse", "worker-1"])["state"], "fusing", "another attempt");
}

#[tokio::test]
async fn a15_a21_a_worker_that_cannot_leaves_its_node_monitoring_and_says_why() {
    let master = master("300");
    let machine = member(&master);
    let id = fusing(&master, &machine).await;
    let why = json!({"status": "failed", "output": "no container runtime"});
    report(&master, &machine, &id, why).await;
    let failure = failure(&master).await;
    assert_eq!(failure["source"], "worker_error");
    assert!(failure["detail"].as_str().is_some_and(|why| why.contains("no container runtime")));
    assert!(counted(&master, "fuse_failed_total{source=\"worker_error\"} 1").await);
}

#[tokio::test]
async fn a15_a_re_enrollment_or_a_deletion_overtakes_an_attempt() {
    let master = master("300");
    let machine = member(&master);
    let id = fusing(&master, &machine).await;
    let again = master.json(&["node", "token", "worker-1"]);
    let other = Machine::new();
    let said = other.bootstrap(&master, again["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let node = master.node("worker-1").await;
    assert_eq!((&node["state"], &node["fuse"]), (&json!("monitoring"), &Value::Null));
    let late = report(&master, &machine, &id, json!({"status": "done"})).await;
    assert_eq!(late, 401, "it is not the member any more");
    assert!(beat(&other, &master).await.is_empty(), "what was asked of the other");
    assert_eq!(event(&master, "fuse_failed").await["source"], "overtaken");

    let id = fusing(&master, &other).await;
    assert_eq!(master.cli(&["node", "delete", "worker-1"]).code, 0);
    assert_eq!(report(&master, &other, &id, json!({"status": "done"})).await, 401);
    in_time("the count", async || {
        counted(&master, "fuse_failed_total{source=\"overtaken\"} 2").await.then_some(())
    })
    .await;
}
