//! Operators, and what is known of who did what.

use enroll_core::model::Role;
use http::Method;
use serde_json::json;

use crate::support::{Master, members};

#[tokio::test]
async fn an_operator_is_added_seen_and_removed() {
    let master = Master::start().await;
    let answer = master.post("/v1/admins", json!({ "name": "ann@ops", "role": "operator" })).await;
    let added = answer.is(201);
    assert_eq!(added.headers["cache-control"], "no-store");
    assert_eq!(members(&added.json), ["name", "role", "token"]);
    let bearer = added.json["token"].as_str().unwrap();
    master.ask(Method::GET, "/v1/tokens", Some(bearer), "").await.is(200);
    master.ask(Method::GET, "/v1/admins", Some(bearer), "").await.error(403, "forbidden");

    let listed = master.get("/v1/admins").await.is(200);
    assert_eq!(listed.column("name"), ["admin", "ann@ops", "developer", "operator", "viewer"]);
    assert_eq!(members(&listed.json["items"][1]), ["created_at", "name", "role"]);

    let again = json!({ "name": "ann@ops", "role": "viewer" });
    master.post("/v1/admins", again).await.error(409, "conflict");
    master.delete("/v1/admins/ann@ops").await.is(204);
    master.delete("/v1/admins/ann%40ops").await.error(404, "not_found");
    master.ask(Method::GET, "/v1/tokens", Some(bearer), "").await.error(401, "unauthorized");
}

#[tokio::test]
async fn the_last_admin_stays_and_nonsense_adds_nobody() {
    let master = Master::start().await;
    master.delete("/v1/admins/admin").await.error(409, "conflict");
    for (wish, named) in [
        (json!({ "name": "ann" }), "`role` must be one of"),
        (json!({ "name": "ann", "role": "root" }), "`role` must be one of"),
        (json!({ "name": "ann", "role": 1 }), "`role` must be a text"),
        (json!({ "role": "viewer" }), "name is 1 to 64"),
        (json!({ "name": "a b", "role": "viewer" }), "name is 1 to 64"),
        (json!({ "name": "..", "role": "viewer" }), "not only dots"),
        (json!({ "name": "a".repeat(65), "role": "viewer" }), "name is 1 to 64"),
    ] {
        let answer = master.post("/v1/admins", wish).await.error(400, "validation_failed");
        assert!(answer.detail().contains(named), "{}", answer.detail());
    }
    assert_eq!(master.get("/v1/admins").await.column("name").len(), Role::ALL.len());
}

#[tokio::test]
async fn the_log_says_who_did_what_and_can_be_followed() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let all = master.get("/v1/events").await.is(200);
    let kinds = all.column("type");
    assert_eq!(kinds[kinds.len() - 3..], ["node_registered", "token_minted", "enrolled"]);
    let rows = all.json["items"].as_array().unwrap();
    let minted = &rows[rows.len() - 2];
    assert_eq!((&minted["actor"], &minted["node_name"]), (&json!("admin"), &json!("worker-1")));
    assert!(rows.windows(2).all(|two| two[0]["seq"].as_u64() < two[1]["seq"].as_u64()));
    let enrolled = rows.last().unwrap();
    assert_eq!(enrolled["actor"], json!(null));

    let seq = minted["seq"].as_u64().unwrap();
    let behind = master.get(&format!("/v1/events?after={seq}")).await.is(200);
    assert_eq!(behind.column("type"), ["enrolled"]);
    let last = enrolled["seq"].as_u64().unwrap();
    let none = master.get(&format!("/v1/events?after={last}")).await.is(200).json;
    assert_eq!(none, json!({ "items": [], "next_cursor": null }));
    let page = master.get("/v1/events?limit=2").await.is(200).json;
    let cursor = page["next_cursor"].as_str().unwrap();
    for query in [format!("cursor={cursor}"), format!("after={cursor}")] {
        let next = master.get(&format!("/v1/events?{query}&limit=1")).await.is(200).json;
        assert_eq!(next["items"][0], rows[2], "{query}");
    }
    for bad in ["-1", "x", "", "1.5"] {
        let path = format!("/v1/events?after={bad}");
        master.get(&path).await.error(400, "validation_failed");
    }
}
