//! What `--output json` prints: the answer of the operator API, member by member.

use serde_json::{Value, json};

use crate::harness::Master;

#[track_caller]
fn has(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("an object: {value}"));
    for key in keys {
        assert!(object.contains_key(*key), "{key} in {value}");
    }
}

/// The rows of a whole list.
#[track_caller]
fn rows(list: &Value) -> &[Value] {
    assert_eq!(list["next_cursor"], Value::Null, "{list}");
    list["items"].as_array().unwrap_or_else(|| panic!("a list: {list}"))
}

#[test]
fn tokens() {
    let master = Master::start(&[]);
    let bound = ["token", "mint", "--ttl", "10m", "--max-uses", "1", "--node-name", "node-1"];
    let minted = master.json(&bound);
    has(&minted, &["id", "token", "ca_fingerprint", "invitation", "expires_at"]);
    assert_eq!(minted["ttl_secs"], 600);
    assert_eq!((&minted["max_uses"], &minted["node_name"]), (&json!(1), &json!("node-1")));
    let fleet = master.json(&["token", "mint", "--description", "a rack"]);
    assert_eq!((&fleet["ttl_secs"], &fleet["max_uses"]), (&json!(3600), &json!(0)));
    assert_eq!(fleet["node_name"], Value::Null);

    let list = master.json(&["token", "list"]);
    let [newest, oldest] = rows(&list) else { panic!("two tokens: {list}") };
    assert_eq!((&newest["id"], &oldest["id"]), (&fleet["id"], &minted["id"]));
    has(oldest, &["node_name", "created_at", "expires_at", "max_uses", "uses", "created_by"]);
    assert_eq!(oldest["status"], "active");
    assert!(!list.to_string().contains(minted["token"].as_str().expect("a text")));

    let id = minted["id"].as_str().expect("an id");
    for _ in 0..2 {
        let said = master.cli(&["token", "revoke", id, "--output", "json"]);
        assert_eq!((said.code, said.out.as_str()), (0, ""), "the answer has no body");
    }
    assert_eq!(rows(&master.json(&["token", "redemptions", id])), &[] as &[Value]);
}

#[tokio::test]
async fn what_is_printed_is_the_answer_itself() {
    let master = Master::start(&[]);
    master.json(&["node", "add", "worker-1", "--label", "rack=b2"]);
    for (call, path) in [
        (&["token", "list"][..], "/v1/tokens"),
        (&["node", "list"], "/v1/nodes"),
        (&["node", "get", "worker-1"], "/v1/nodes/worker-1"),
        (&["admin", "list"], "/v1/admins"),
        (&["events"], "/v1/events"),
        (&["auto-enrollment", "show"], "/v1/settings/auto-enrollment"),
        (&["fence", "show"], "/v1/fence"),
    ] {
        assert_eq!(master.json(call), master.api().get(path).await.body, "{path}");
    }
}

#[test]
fn pages_and_all_of_them() {
    let master = Master::start(&[]);
    for _ in 0..5 {
        master.json(&["token", "mint"]);
    }
    let all = master.json(&["token", "list"]);
    let first = master.json(&["token", "list", "--limit", "2"]);
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let next = master.json(&["token", "list", "--limit", "2", "--cursor", cursor]);
    assert_eq!(next["items"][0], all["items"][2]);
    assert_eq!(master.json(&["token", "list", "--all"]), all);
}

#[test]
fn nodes() {
    let master = Master::start(&["--fuser", "builtin"]);
    let added = master.json(&["node", "add", "worker-1", "--label", "rack=b2"]);
    has(&added, &["node", "id", "token", "invitation", "expires_at", "install"]);
    has(&added["install"], &["docker", "systemd", "shell"]);
    assert_eq!(added["node"]["labels"], json!({ "rack": "b2" }));
    let again = master.json(&["node", "token", "worker-1"]);
    assert_ne!(added["token"], again["token"]);

    master.json(&["node", "add", "--name", "worker-2"]);
    let list = master.json(&["node", "list", "--status", "waiting", "--state", "pending"]);
    assert_eq!(rows(&list).len(), 2);
    has(&list["items"][0], &["id", "name", "state", "health", "status", "actions", "labels"]);
    assert_eq!(rows(&master.json(&["node", "list", "--state", "fused"])).len(), 0);
    assert_eq!(rows(&master.json(&["node", "list", "--arch", "riscv64"])).len(), 0);

    assert_eq!(master.json(&["node", "get", "worker-1"]), list["items"][0]);
    assert_eq!(master.json(&["node", "cordon", "worker-1"])["status"], "cordoned");
    assert_eq!(master.json(&["node", "uncordon", "worker-1"])["status"], "waiting");
    assert_eq!(rows(&master.json(&["node", "attempts", "worker-1"])).len(), 0);
    assert_eq!(rows(&master.json(&["node", "commands", "worker-1"])).len(), 0);
    assert_eq!(master.cli(&["node", "fuse", "worker-1"]).code, 1, "no machine is behind it");
    assert_eq!(master.cli(&["node", "delete", "worker-2", "--force"]).code, 0);
    assert_eq!(master.cli(&["node", "get", "worker-2"]).code, 1);
}

#[test]
fn operators_settings_and_the_log() {
    let master = Master::start(&[]);
    let added = master.json(&["admin", "add", "--name", "ann", "--role", "operator"]);
    let keys: Vec<&String> = added.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["name", "role", "token"]);
    assert_eq!((&added["name"], &added["role"]), (&json!("ann"), &json!("operator")));
    let admins = master.json(&["admin", "list"]);
    assert_eq!(rows(&admins).len(), 2);
    has(&admins["items"][0], &["name", "role", "created_at"]);

    let path = master.beside("secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("a file");
    let secret = path.to_str().expect("a path");
    assert_eq!(master.json(&["auto-enrollment", "show"])["enabled"], false);
    assert_eq!(master.cli(&["auto-enrollment", "enable"]).code, 1, "it has no secret yet");
    let on = ["auto-enrollment", "enable", "--secret-path", secret, "--name-pattern", "ingest-*"];
    let on = master.json(&on);
    assert_eq!((&on["enabled"], &on["name_patterns"]), (&json!(true), &json!(["ingest-*"])));
    std::fs::write(&path, "fedcba9876543210fedcba9876543210\n").expect("a file");
    let rotate = ["auto-enrollment", "rotate", "--secret-path", secret, "--previous-valid", "24h"];
    assert_ne!(master.json(&rotate)["previous_valid_until"], Value::Null);
    assert_eq!(master.json(&["auto-enrollment", "disable"])["enabled"], false);

    let events = master.json(&["events", "--all"]);
    has(&rows(&events)[0], &["seq", "at", "actor", "type"]);
    let seq = rows(&events)[1]["seq"].to_string();
    let later = master.json(&["events", "--after", &seq, "--all"]);
    assert_eq!(rows(&later), &rows(&events)[2..]);
    assert!(!events.to_string().contains("0123456789abcdef0123456789abcdef"));
}

#[tokio::test]
async fn the_metrics_are_on_the_operators_listener() {
    let master = Master::start(&[]);
    master.json(&["node", "add", "worker-1"]);
    let scraped = master.api().get("/metrics").await;
    assert_eq!(scraped.status, 200);
    let text = scraped.body.as_str().expect("a text");
    assert!(text.contains("enroll_rejections_total{reason=\"expired\"} 0"), "{text}");
    assert!(text.contains("enroll_nodes{state=\"pending\"} 1"), "{text}");
}
