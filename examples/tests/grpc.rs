//! Steady state over gRPC, through the real binaries.

mod harness;

use std::time::{Duration, Instant};

use harness::{Api, Home, Machine, Master, in_time};
use serde_json::{Value, json};

/// A machine that has enrolled as `name`.
async fn member(master: &Master, name: &str) -> Machine {
    let minted = master.mint(json!({"node_name": name})).await;
    let machine = Machine::new();
    let token = minted["token"].as_str().expect("a token");
    let said = machine.bootstrap(master, token, &["--node-name", name]);
    assert_eq!(said.code, 0, "{said:?}");
    machine
}

/// The value of one series without labels of the master's /metrics.
async fn series(api: &Api, name: &str) -> u64 {
    let text = api.get("/metrics").await.body;
    let text = text.as_str().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().expect("a number")
}

async fn ready(master: &Master, name: &str) {
    in_time("a heartbeat", async || (master.node(name).await["health"] == "ready").then_some(()))
        .await;
}

async fn queue(api: &Api, name: &str) -> Value {
    let path = format!("/v1/nodes/{name}/commands");
    let queued = api.post(&path, &json!({"kind": "ping", "payload": null})).await;
    assert_eq!(queued.status, 202, "{queued:?}");
    queued.body["id"].clone()
}

/// Waits until the newest command of a node is done.
async fn pong(api: &Api, name: &str, id: &Value) {
    let path = format!("/v1/nodes/{name}/commands");
    in_time("the answer", async || {
        let newest = api.get(&path).await.body["items"][0].clone();
        (newest["id"] == *id && newest["output"] == "pong").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a8_a_worker_speaks_grpc_and_hears_commands_between_its_heartbeats() {
    let master = Master::start(&[]);
    let api = master.api();
    let machine = member(&master, "node-1").await;
    let _worker = machine.start(&["serve", "--heartbeat-interval", "1h"]);
    ready(&master, "node-1").await;
    in_time("two streams", async || (series(&api, "enroll_streams").await == 2).then_some(()))
        .await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let id = queue(&api, "node-1").await;
        pong(&api, "node-1", &id).await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_secs(5), "an hour before the next heartbeat: {fastest:?}");

    // What it measures comes over the same connection, and no /metrics of the master's names a node.
    in_time("what the machine measures", async || {
        let text = api.get("/v1/nodes/node-1/metrics").await.body;
        let text = text.as_str().unwrap_or_default();
        (text.contains("{node=\"node-1\"") && text.contains("node_load1")).then_some(())
    })
    .await;
    assert!(!api.get("/metrics").await.body.to_string().contains("node-1"));

    let machine = member(&master, "node-2").await;
    let mut rest = machine.command(&["serve", "--heartbeat-interval", "1s"]);
    rest.env("ENROLL_TRANSPORT", "rest");
    let _worker = machine.start_as(rest);
    ready(&master, "node-2").await;
    let id = queue(&api, "node-2").await;
    pong(&api, "node-2", &id).await;
    assert_eq!(series(&api, "enroll_streams").await, 2, "the second opened none");
}

#[tokio::test]
async fn a8_streams_come_back_when_the_master_does_and_identities_are_renewed_over_them() {
    // Renewal is due after two thirds.
    let flags = ["--leaf-lifetime-secs", "12"];
    let ports = {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let held = [free(), free(), free()];
        held.map(|socket| socket.local_addr().expect("an address").port())
    };
    let home = Home::new();
    let mut serve = home.serve_on(ports);
    serve.args(flags);
    let master = home.start_as(serve);
    let machine = member(&master, "node-1").await;
    let first = machine.file("agent.crt");
    let mut worker = machine.start(&["serve", "--heartbeat-interval", "1s"]);
    ready(&master, "node-1").await;

    let home = master.kill();
    let mut serve = home.serve_on(ports);
    serve.args(flags);
    let master = home.start_as(serve);
    let api = master.api();
    let back = async || {
        let streams = series(&api, "enroll_streams").await;
        let beats = series(&api, "enroll_stream_heartbeats").await;
        (streams >= 2 && beats >= 2).then_some(())
    };
    in_time("the streams", back).await;
    let renewed = async || (machine.file("agent.crt") != first).then_some(());
    in_time("a renewal", renewed).await;
    // Several lives of a certificate later it still is a member.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(worker.runs(), "{}", machine.log());
    ready(&master, "node-1").await;
    assert!(!machine.log().contains("speaks no gRPC"), "{}", machine.log());
}

#[tokio::test]
async fn a8_a_worker_whose_node_is_deleted_ends_between_its_heartbeats() {
    let master = Master::start(&["--issue", "x509", "--issue", "api_key"]);
    let machine = member(&master, "node-1").await;
    let mut worker = machine.start(&["serve", "--heartbeat-interval", "1h"]);
    ready(&master, "node-1").await;
    assert!(worker.runs());
    assert_eq!(master.api().delete("/v1/nodes/node-1").await.status, 204);
    assert_eq!(worker.ended(), 7, "{}", machine.log());
}

#[tokio::test]
async fn c2_a_worker_that_has_only_an_api_key_speaks_grpc_too() {
    let master = Master::start(&["--issue", "api_key"]);
    let machine = member(&master, "node-1").await;
    let _worker = machine.start(&["serve", "--heartbeat-interval", "1h"]);
    ready(&master, "node-1").await;
    let id = queue(&master.api(), "node-1").await;
    pong(&master.api(), "node-1", &id).await;
}

#[test]
fn a_transport_that_is_none_is_a_usage_error_that_names_the_two() {
    let machine = Machine::new();
    let mut command = machine.command(&["serve"]);
    command.env("ENROLL_TRANSPORT", "soap");
    let said = harness::run(&mut command);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("ENROLL_TRANSPORT is neither grpc nor rest"), "{said:?}");
}
