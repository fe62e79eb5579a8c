//! Nodes: registering, looking, filtering, cordoning, deleting.

use std::time::Duration;

use enroll_core::model::{NodeName, Reason, Role};
use enroll_core::store::{Nodes as _, Page};
use http::Method;
use serde_json::{Value, json};

use crate::common::soon;
use crate::support::{FROM, Master, members, refused};

const SUMMARY: [&str; 6] = ["arch", "health", "last_seen_at", "name", "state", "status"];

#[tokio::test]
async fn a_registered_node_is_pending_until_its_token_is_redeemed() {
    let master = Master::start().await;
    let wish = json!({ "name": "worker-1", "labels": { "zone": "ours" }, "token_ttl_secs": 600 });
    let answer = master.post("/v1/nodes", wish).await.is(201);
    let first = answer.json;
    assert_eq!(members(&first), ["expires_at", "id", "install", "invitation", "node", "token"]);
    assert_eq!(
        (&first["node"]["state"], &first["node"]["method"]),
        (&json!("pending"), &json!(null))
    );
    assert_eq!(first["node"]["actions"], json!(["regenerate", "delete", "cordon"]));
    assert!(first["token"].as_str().unwrap().contains(first["id"].as_str().unwrap()));

    let second = master.post("/v1/nodes", json!({ "name": "worker-1" })).await.is(201).json;
    assert_eq!(second["node"]["id"], first["node"]["id"], "pending still, with a fresh token");
    let stale = first["token"].as_str().unwrap();
    assert_eq!(refused(master.present(stale, "worker-1").await), Reason::InvalidToken);

    drop(master.present(second["token"].as_str().unwrap(), "worker-1").await);
    let node = master.get("/v1/nodes/worker-1").await.is(200).json;
    assert_eq!((&node["state"], &node["health"]), (&json!("monitoring"), &json!("waiting")));
    assert_eq!(node["method"], "token");
    let held = master.post("/v1/nodes", json!({ "name": "worker-1" })).await;
    assert!(held.error(409, "conflict").detail().contains("regenerate"));
}

#[tokio::test]
async fn a_regenerated_token_answers_as_the_registration_did() {
    let master = Master::start().await;
    let first = master.post("/v1/nodes", json!({ "name": "worker-1" })).await.is(201).json;
    for body in ["", "{}", "not read"] {
        let path = "/v1/nodes/worker-1/token";
        let again = master.ask(Method::POST, path, Some(master.token(Role::Admin)), body).await;
        let again = again.is(201);
        assert_eq!(members(&again.json), members(&first));
        assert_eq!(again.headers["cache-control"], "no-store");
        assert_eq!(again.json["node"]["id"], first["node"]["id"]);
    }
    let stale = first["token"].as_str().unwrap();
    assert_eq!(refused(master.present(stale, "worker-1").await), Reason::InvalidToken);
    master.post("/v1/nodes/nobody/token", json!({})).await.error(404, "not_found");
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_registers_nothing() {
    let master = Master::start().await;
    for (wish, named) in [
        (json!({}), "cannot be empty"),
        (json!({ "name": "Worker" }), "only lower-case"),
        (json!({ "name": "master.example" }), "the master itself"),
        (json!({ "name": "a", "labels": { "k": 1 } }), "`labels` must be an object"),
        (json!({ "name": "a", "labels": { "k": "x".repeat(1025) } }), "`labels`"),
        (json!({ "name": "a", "token_ttl_secs": -1 }), "`token_ttl_secs` must be"),
    ] {
        let answer = master.post("/v1/nodes", wish).await.error(400, "validation_failed");
        assert!(answer.detail().contains(named), "{}", answer.detail());
    }
    assert_eq!(master.get("/v1/nodes").await.json["items"], json!([]));
}

#[tokio::test]
async fn b9_the_two_upper_roles_see_everything_and_the_others_a_summary() {
    let master = Master::start().await;
    let node = master.enroll("worker-1").await;
    let seen = master.beat(&node).await;
    for role in Role::ALL {
        let bearer = Some(master.token(*role));
        let one = master.ask(Method::GET, "/v1/nodes/worker-1", bearer, "").await.is(200).json;
        let list = master.ask(Method::GET, "/v1/nodes", bearer, "").await.is(200).json;
        assert_eq!(list["items"], json!([one]));
        assert_eq!(one["last_seen_at"], seen.to_rfc3339());
        assert_eq!((&one["status"], &one["arch"]), (&json!("ready"), &json!("x86_64")));
        if *role < Role::Operator {
            assert_eq!(members(&one), SUMMARY);
            continue;
        }
        assert_eq!(one["id"], node.id.to_string());
        assert_eq!(one["labels"], json!({ "zone": "theirs", "rack": "7" }));
        assert!(one.get("last_state").is_none());
        let all = members(&one);
        for member in SUMMARY.iter().chain(&["actions", "cordoned", "facts", "enrolled_at"]) {
            assert!(all.contains(member), "{member}");
        }
    }
}

#[tokio::test]
async fn the_operators_labels_win_over_the_nodes_own() {
    let master = Master::start().await;
    let wish = json!({ "name": "worker-1", "labels": { "zone": "ours" } });
    let token = master.post("/v1/nodes", wish).await.is(201).json;
    drop(master.present(token["token"].as_str().unwrap(), "worker-1").await);
    let node = master.get("/v1/nodes/worker-1").await.is(200).json;
    assert_eq!(node["labels"], json!({ "zone": "ours", "rack": "7" }));
    assert_eq!(node["facts"]["labels"], json!({ "zone": "theirs", "rack": "7" }));
}

#[tokio::test]
async fn a_node_registered_again_keeps_its_labels_unless_others_are_given() {
    let master = Master::start().await;
    let labels = async |body: Value| {
        master.post("/v1/nodes", body).await.is(201);
        master.get("/v1/nodes/worker-1").await.json["labels"].clone()
    };
    let rack = json!({ "rack": "b2" });
    assert_eq!(labels(json!({ "name": "worker-1", "labels": rack })).await, rack);
    assert_eq!(labels(json!({ "name": "worker-1" })).await, rack);
    assert_eq!(labels(json!({ "name": "worker-1", "labels": {} })).await, json!({}));
}

#[tokio::test]
async fn b9_a_node_has_a_name_and_its_id_is_not_taken_for_one() {
    let master = Master::start().await;
    let node = master.enroll("worker-1").await;
    let id = node.id.to_string();
    for id in [id.clone(), id.replace('-', ""), id.to_uppercase()] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::GET, "/attempts"),
            (Method::POST, "/token"),
            (Method::POST, "/cordon"),
            (Method::POST, "/uncordon"),
        ] {
            let path = format!("/v1/nodes/{id}{rest}");
            let answer = master.ask(method, &path, Some(master.token(Role::Admin)), "").await;
            answer.error(400, "validation_failed");
        }
    }
    let answer = master.get(&format!("/v1/nodes/{id}")).await;
    assert!(answer.detail().contains("by its name"), "{}", answer.detail());
    for bad in ["Worker-1", "worker_1", "%20", "%ff", "worker-1%00", "-"] {
        master.get(&format!("/v1/nodes/{bad}")).await.error(400, "validation_failed");
    }
    master.get("/v1/nodes/worker-2").await.error(404, "not_found");
}

#[tokio::test]
async fn b9_filters_go_by_what_is_shown() {
    let master = Master::start().await;
    for name in ["silent", "silent-cordoned"] {
        let node = master.enroll(name).await;
        master.beat(&node).await;
    }
    master.pass(90);
    let node = master.enroll("lively").await;
    master.beat(&node).await;
    master.enroll("waiting").await;
    master.post("/v1/nodes", json!({ "name": "pending" })).await.is(201);
    master.post("/v1/nodes/silent-cordoned/cordon", json!({})).await.is(200);
    let names =
        async |query: &str| master.get(&format!("/v1/nodes?{query}")).await.is(200).column("name");
    for (query, expected) in [
        ("", vec!["lively", "pending", "silent", "silent-cordoned", "waiting"]),
        ("state=pending", vec!["pending"]),
        ("state=monitoring", vec!["lively", "waiting"]),
        ("state=degraded", vec!["silent", "silent-cordoned"]),
        ("state=fused", vec![]),
        ("status=waiting", vec!["pending", "waiting"]),
        ("status=ready", vec!["lively"]),
        ("status=degraded", vec!["silent"]),
        ("status=cordoned", vec!["silent-cordoned"]),
        ("state=degraded&status=cordoned", vec!["silent-cordoned"]),
        ("arch=x86_64", vec!["lively", "silent", "silent-cordoned", "waiting"]),
        ("arch=aarch64", vec![]),
        ("state=monitoring&arch=x86_64&status=ready&strange=1", vec!["lively"]),
    ] {
        assert_eq!(names(query).await, expected, "{query}");
    }
    for (query, named) in [
        ("status=pending", "`status` must be one of `waiting`, `ready`"),
        ("status=", "`status`"),
        ("state=ready", "`state` must be one of `pending`"),
        ("state=Fused", "`state`"),
        ("state=fused&state=fused", "given twice"),
        ("arch=%00", "U+0000"),
    ] {
        let answer = master.get(&format!("/v1/nodes?{query}")).await;
        let answer = answer.error(400, "validation_failed");
        assert!(answer.detail().contains(named), "{query}: {}", answer.detail());
    }
    let silent = master.get("/v1/nodes/silent").await.is(200).json;
    assert_eq!(
        (&silent["state"], &silent["last_state"]),
        (&json!("degraded"), &json!("monitoring"))
    );
}

#[tokio::test]
async fn b10_cordoning_twice_is_cordoning_once() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let operator = Some(master.token(Role::Operator));
    for (verb, cordoned) in [("cordon", true), ("cordon", true), ("uncordon", false)] {
        let path = format!("/v1/nodes/worker-1/{verb}");
        let node = master.ask(Method::POST, &path, operator, "").await.is(200).json;
        assert_eq!(node["cordoned"], cordoned);
        let status = if cordoned { "cordoned" } else { "waiting" };
        assert_eq!(node["status"], status);
    }
    let events = master.get("/v1/events").await.is(200).column("type");
    assert_eq!(events.iter().filter(|kind| *kind == "cordoned").count(), 1);
    master.post("/v1/nodes/nobody/cordon", json!({})).await.error(404, "not_found");
}

#[tokio::test]
async fn b10_a_deleted_node_is_gone_and_so_are_its_tokens() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let token = master.post("/v1/nodes/worker-1/token", json!({})).await.is(201).json;
    master.delete("/v1/nodes/worker-1?force=perhaps").await.error(400, "validation_failed");
    master.delete("/v1/nodes/worker-1").await.is(204);
    master.get("/v1/nodes/worker-1").await.error(404, "not_found");
    master.delete("/v1/nodes/worker-1?force=true").await.error(404, "not_found");
    let text = token["token"].as_str().unwrap();
    assert_eq!(refused(master.present(text, "worker-1").await), Reason::Revoked);
    assert!(master.store.nodes(Page::first(9), Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn b10_a_node_in_use_is_deleted_only_by_force() {
    let master = Master::start().await;
    master.enroll("busy-1").await;
    for path in ["/v1/nodes/busy-1", "/v1/nodes/busy-1?force=false"] {
        let refused = master.delete(path).await.error(409, "conflict");
        assert!(refused.detail().contains("busy-1 runs 3 machines."), "{}", refused.detail());
    }
    master.get("/v1/nodes/busy-1").await.is(200);
    master.delete("/v1/nodes/busy-1?force=true").await.is(204);
    master.get("/v1/nodes/busy-1").await.error(404, "not_found");
}

#[tokio::test]
async fn what_was_begun_is_carried_out_though_nobody_waits_for_it() {
    let master = Master::start().await;
    master.enroll("slow-1").await;
    soon(async {
        tokio::select! {
            answer = master.delete("/v1/nodes/slow-1") => panic!("not yet: {answer:?}"),
            () = master.busy.asked.notified() => {}
        }
    })
    .await;
    // The connection is gone when this is.
    soon(master.running.stop()).await;
    master.busy.answer.notify_one();
    let name = NodeName::new("slow-1").unwrap();
    soon(async {
        while master.store.node(&name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn attempts_are_told_newest_first_whoever_has_the_name() {
    let master = Master::start().await;
    let token = master.post("/v1/tokens", json!({ "node_name": "worker-1" })).await.is(201).json;
    drop(master.present(token["token"].as_str().unwrap(), "worker-1").await);
    master.pass(1);
    assert_eq!(
        refused(master.present(token["token"].as_str().unwrap(), "worker-1").await),
        Reason::AlreadyConsumed
    );
    master.enroller.flush().await;
    let answer = master.get("/v1/nodes/worker-1/attempts").await.is(200);
    assert_eq!(answer.column("outcome"), ["refused", "accepted"]);
    let rows = answer.json["items"].as_array().unwrap();
    assert_eq!(members(&rows[0]), ["at", "outcome", "reason", "source_ip", "token_id"]);
    assert_eq!(
        (&rows[0]["reason"], &rows[1]["reason"]),
        (&json!("already_consumed"), &Value::Null)
    );
    assert_eq!(rows[0]["source_ip"], FROM.to_string());
    assert_eq!(rows[0]["token_id"], token["id"]);
    assert_eq!(master.get("/v1/nodes/nobody/attempts").await.is(200).json["items"], json!([]));
}
