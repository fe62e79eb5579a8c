//! The step to full control, and commands.

use enroll_core::model::{CommandStatus, NodeRecord};
use enroll_core::store::{Commands as _, Finish};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Master, members};

/// The node finishes the oldest command it has not finished.
async fn obey(master: &Master, node: &NodeRecord) {
    let open = master.store.open_commands(node.id, 1).await.unwrap().remove(0);
    let at = master.enroller.clock().now();
    let what = enroll_core::model::What::CommandFinished {
        node_name: node.name.clone(),
        command_id: open.id,
        status: CommandStatus::Done,
    };
    let finish = Finish {
        node_id: node.id,
        id: open.id,
        at,
        status: CommandStatus::Done,
        output: Some("as you wish".into()),
        event: enroll_core::model::Event::new(at, what),
    };
    assert!(master.store.finish(finish).await.unwrap().is_some());
    master.enroller.tend().await.unwrap();
}

#[tokio::test]
async fn a_node_is_fused_only_from_monitoring_while_it_lives() {
    let master = Master::start().await;
    let node = master.enroll("worker-1").await;
    master.post("/v1/nodes", json!({ "name": "worker-2" })).await.is(201);
    let pending = master.post("/v1/nodes/worker-2/fuse", json!({})).await;
    assert!(pending.error(409, "conflict").detail().contains("pending"));
    master.beat(&node).await;
    master.pass(91);
    let silent = master.post("/v1/nodes/worker-1/fuse", json!({})).await;
    assert!(silent.error(409, "conflict").detail().contains("degraded"));
    master.beat(&node).await;
    let begun = master.post("/v1/nodes/worker-1/fuse", json!({})).await.is(202).json;
    assert_eq!((&begun["state"], &begun["fuse"]["ended_at"]), (&json!("fusing"), &Value::Null));
    master.post("/v1/nodes/worker-1/fuse", json!({})).await.error(409, "conflict");
    obey(&master, &node).await;
    let fused = master.get("/v1/nodes/worker-1").await.is(200).json;
    assert_eq!(fused["state"], "fused");
    assert!(fused["actions"].as_array().unwrap().contains(&json!("command:control")));
    master.post("/v1/nodes/nobody/fuse", json!({})).await.error(404, "not_found");
}

#[tokio::test]
async fn commands_are_queued_as_the_state_allows_and_listed_with_their_end() {
    let master = Master::start().await;
    let node = master.enroll("worker-1").await;
    let path = "/v1/nodes/worker-1/commands";
    let ping = json!({ "kind": "ping", "payload": { "n": 1 } });
    let queued = master.post(path, ping).await.is(202).json;
    assert_eq!(members(&queued), ["id"]);
    let control = master.post(path, json!({ "kind": "restart" })).await;
    assert!(control.error(409, "conflict").detail().contains("fused"));
    obey(&master, &node).await;
    master.pass(1);
    master.post(path, json!({ "kind": "ping" })).await.is(202);
    let listed = master.get(path).await.is(200);
    assert_eq!(listed.column("status"), ["queued", "done"], "newest first");
    let done = &listed.json["items"][1];
    assert_eq!((&done["id"], &done["output"]), (&queued["id"], &json!("as you wish")));
    assert_eq!((&done["payload"], &done["class"]), (&json!({ "n": 1 }), &json!("monitor")));
    assert_eq!((&done["queued_by"], &done["kind"]), (&json!("admin"), &json!("ping")));
    let page = master.get(&format!("{path}?limit=1")).await.is(200).json;
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = master.get(&format!("{path}?limit=1&cursor={cursor}")).await.is(200).json;
    assert_eq!((&next["items"][0], &next["next_cursor"]), (done, &Value::Null));
}

#[tokio::test]
async fn a_command_nobody_knows_is_queued_for_nobody() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let path = "/v1/nodes/worker-1/commands";
    let large = json!({ "kind": "ping", "payload": "x".repeat(16 * 1024) });
    for (wish, named) in [
        (json!({}), "`kind` is none this master knows"),
        (json!({ "kind": "fuse" }), "`kind` is none this master knows"),
        (json!({ "kind": 1 }), "`kind` must be a text"),
        (large, "16 KiB"),
    ] {
        let answer = master.post(path, wish).await.error(400, "validation_failed");
        assert!(answer.detail().contains(named), "{}", answer.detail());
    }
    master
        .post("/v1/nodes/nobody/commands", json!({ "kind": "ping" }))
        .await
        .error(404, "not_found");
    master.get("/v1/nodes/nobody/commands").await.error(404, "not_found");
    assert_eq!(master.get(path).await.is(200).json["items"], json!([]));
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (method, path) in [(Method::POST, "fuse"), (Method::GET, "commands")] {
        let path = format!("/v1/nodes/{id}/{path}");
        let admin = Some(master.token(enroll_core::model::Role::Admin));
        master.ask(method, &path, admin, "").await.error(400, "validation_failed");
    }
}
