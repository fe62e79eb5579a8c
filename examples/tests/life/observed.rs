//! Whatever happens is one event on record, by whom, and is counted without a name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Api, Machine, Master, in_time};
use crate::{beat, member};

const SECRET: &str = "correct-horse-battery-staple-0123456789";

/// The types an event of this master can have, and whether an operator is behind it.
const TYPES: [(&str, bool); 21] = [
    ("admin_added", true),
    ("admin_removed", true),
    ("command_finished", false),
    ("command_queued", true),
    ("cordoned", true),
    ("enrolled", false),
    ("first_heartbeat", false),
    ("fuse_failed", false),
    ("fuse_started", true),
    ("fused", false),
    ("name_mismatch", false),
    ("node_deleted", true),
    ("node_registered", true),
    ("old_secret_used", false),
    ("refused", false),
    ("renewed", false),
    ("setting_changed", true),
    ("token_minted", true),
    ("token_revoked", true),
    ("uncordoned", true),
    ("unfamiliar_name", false),
];

fn text(minted: &Value) -> &str {
    minted["token"].as_str().expect("a token")
}

/// All that operators do to tokens, operators and settings.
async fn operate(master: &Master) {
    let fleet = master.json(&["token", "mint"]);
    assert_eq!(master.cli(&["token", "revoke", fleet["id"].as_str().expect("an id")]).code, 0);
    master.json(&["admin", "add", "--name", "ann", "--role", "viewer"]);
    assert_eq!(master.cli(&["admin", "remove", "ann"]).code, 0);
    let rotated = [SECRET, "another-horse-battery-staple-9876543210"];
    for secret in rotated {
        let wish = json!({"enabled": true, "secret": secret, "previous_valid_secs": 60});
        let path = "/v1/settings/auto-enrollment";
        assert_eq!(master.api().put(path, &wish).await.status, 200);
    }
    let machine = Machine::new();
    let secret = machine.put("secret", SECRET);
    let place = ["--shared-secret-path", &secret, "--node-name", "ingest-01"];
    let args = [&["bootstrap"], &crate::harness::at(master)[..], &place].concat();
    assert_eq!(machine.run(&args).code, 0, "by the secret that was replaced");
    let lost = machine.bootstrap(master, text(&fleet), &["--node-name", "late", "--force"]);
    assert_eq!(lost.code, 3, "{lost:?}");
}

/// All that a member does, and what is done to it.
async fn live(master: &Master, machine: &Machine) {
    let member = machine.member(master);
    beat(machine, master).await;
    let other = json!({"node_name": "worker-2"});
    assert_eq!(member.post("/v1/self/heartbeat", &other).await.status, 403);
    for ended in ["failed", "done"] {
        master.json(&["node", "fuse", "worker-1"]);
        let commands = beat(machine, master).await;
        let id = commands[0]["id"].as_str().expect("an id");
        let path = format!("/v1/self/commands/{id}");
        assert_eq!(member.post(&path, &json!({"status": ended})).await.status, 204);
    }
    master.json(&["node", "commands", "worker-1", "--send", "ping"]);
    let (steady, key) = (master.ready("steady_addr"), machine.file("api_key"));
    let root = machine.file("ca.crt");
    let keyed = Api::new(&format!("https://{steady}"), &root, Some(key.trim()));
    assert_eq!(keyed.post("/v1/self/renew", &json!({})).await.status, 200);
    master.json(&["node", "cordon", "worker-1"]);
    master.json(&["node", "uncordon", "worker-1"]);
    master.json(&["node", "token", "worker-1"]);
    assert_eq!(master.cli(&["node", "delete", "worker-1"]).code, 0);
}

#[tokio::test]
async fn every_step_is_one_event_that_says_who_took_it_and_holds_no_secret() {
    let fuser = ["--fuser", "builtin"];
    let keys = ["--issue", "api_key", "--issue", "x509"];
    let flags = ["--heartbeat-interval-secs", "1", "--attempts-per-minute", "0"];
    let master = Master::start(&[&fuser[..], &keys, &flags].concat());
    let machine = member(&master);
    live(&master, &machine).await;
    operate(&master).await;

    let wanted: BTreeSet<(String, bool)> =
        TYPES.iter().map(|(kind, operator)| ((*kind).to_owned(), *operator)).collect();
    let events = in_time("every type", async || {
        let events = master.json(&["events", "--all"]);
        let seen = types(&events);
        wanted.is_subset(&seen).then_some(events)
    })
    .await;
    let strangers: Vec<_> = types(&events).difference(&wanted).cloned().collect();
    assert_eq!(
        strangers,
        [("setting_changed".to_owned(), false)],
        "the master's own, at its start"
    );
    let log = events.to_string();
    for secret in [SECRET, "enroll_key_", "enroll_admin_", "PRIVATE KEY"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    let items = events["items"].as_array().expect("a list");
    let places: Vec<u64> = items.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(places.windows(2).all(|two| two[0] < two[1]), "in order: {places:?}");
    unnamed(&master).await;
}

fn types(events: &Value) -> BTreeSet<(String, bool)> {
    let items = events["items"].as_array().expect("a list");
    let kind = |event: &Value| event["type"].as_str().expect("a type").to_owned();
    items.iter().map(|event| (kind(event), event["actor"].is_string())).collect()
}

/// No name, address or id is a label, and each state has its gauge.
async fn unnamed(master: &Master) {
    let scraped = master.api().get("/metrics").await.body;
    let text = scraped.as_str().expect("a text");
    for name in ["worker-1", "ingest-01", "127.0.0.1", "ann"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    for state in ["pending", "monitoring", "fusing", "fused"] {
        assert!(text.contains(&format!("enroll_nodes{{state=\"{state}\"}} ")), "{state}: {text}");
    }
    assert!(text.contains("enroll_seconds_bucket{le=\"0.001\",outcome=\"accepted\"}"), "{text}");
    for listener in ["enroll", "steady", "operator"] {
        let counted = format!("enroll_request_seconds_count{{listener=\"{listener}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&counted)?.parse::<u64>().ok());
        assert!(count >= Some(1), "{listener}: {text}");
    }
    assert!(text.contains("enroll_accepted_total{method=\"secret\"} 1"), "{text}");
    assert!(text.contains("enroll_accepted_total{method=\"token\"} 1"), "{text}");
    assert!(text.contains("enroll_rejections_total{reason=\"revoked\"} 1"), "{text}");
}
