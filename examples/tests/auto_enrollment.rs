//! A secret that many machines share gives each an API key at first contact.

mod harness;

use std::process::Command;

use harness::{Machine, Master, Said, Serving, in_time, run};
use serde_json::{Value, json};

const SECRET: &str = "correct-horse-battery-staple-0123456789";
const ROTATED: &str = "another-horse-battery-staple-9876543210";
const PATH: &str = "/v1/settings/auto-enrollment";

fn master() -> Master {
    Master::start(&["--issue", "api_key", "--attempts-per-minute", "0"])
}

async fn set(master: &Master, wish: Value) {
    let set = master.api().put(PATH, &wish).await;
    assert_eq!(set.status, 200, "{set:?}");
}

/// A worker as its service configuration starts it.
fn configured(machine: &Machine, master: &Master, name: &str, secret: Option<&str>) -> Command {
    let mut command = machine.command(&["--heartbeat-interval", "1s"]);
    command.env("ENROLL_MASTER_URL", master.ready("enroll_url"));
    command.env("ENROLL_CA_FINGERPRINT", master.ready("ca_fingerprint"));
    command.env("ENROLL_NODE_NAME", name);
    if let Some(secret) = secret {
        command.env("ENROLL_SHARED_SECRET", secret);
    }
    command
}

fn start<'a>(machine: &'a Machine, master: &Master, secret: Option<&str>) -> Serving<'a> {
    machine.start_as(configured(machine, master, "ingest-01", secret))
}

fn bootstrap(master: &Master, machine: &Machine, name: &str, secret: &str) -> Said {
    run(configured(machine, master, name, Some(secret)).arg("bootstrap"))
}

fn refused(said: &Said, reason: &str) {
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains(reason), "{said:?}");
}

/// The value of one series of the master's metrics.
async fn counted(master: &Master, series: &str) -> String {
    let scraped = master.api().get("/metrics").await.body;
    let text = scraped.as_str().expect("a text");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} in {text}")).to_owned()
}

/// Waits for an event of this kind.
async fn event(master: &Master, kind: &str) -> Value {
    in_time(kind, async || {
        let events = master.json(&["events", "--all"]);
        let items = events["items"].as_array().expect("a list");
        items.iter().find(|event| event["type"] == kind).cloned()
    })
    .await
}

/// Waits for a heartbeat later than `seen`; when it was.
async fn beat(master: &Master, worker: &mut Serving<'_>, seen: Option<Value>) -> Value {
    in_time("a heartbeat", async || {
        assert!(worker.runs());
        let node = master.api().get("/v1/nodes/ingest-01").await.body;
        let last = node["last_seen_at"].clone();
        (node["health"] == "ready" && seen.as_ref() != Some(&last)).then_some(last)
    })
    .await
}

#[tokio::test]
async fn c1_auto_enrollment_is_off_until_switched_on_and_its_secret_is_write_only() {
    let master = master();
    let machine = Machine::new();
    refused(&bootstrap(&master, &machine, "ingest-01", SECRET), "enrollment_disabled");
    let short = master.api().put(PATH, &json!({"enabled": true, "secret": "short"})).await;
    assert_eq!((short.status, &short.body["code"]), (400, &json!("validation_failed")));

    let path = machine.put("secret", SECRET);
    let shown = master.cli(&["auto-enrollment", "enable", "--secret-path", &path]);
    assert_eq!((shown.code, shown.out.contains(SECRET)), (0, false), "{shown:?}");
    let setting = master.api().get(PATH).await.body;
    assert_eq!(setting["enabled"], true);
    assert!(!setting.to_string().contains(SECRET));
    assert_eq!(bootstrap(&master, &machine, "ingest-01", SECRET).code, 0);

    assert_eq!(master.cli(&["auto-enrollment", "disable"]).code, 0);
    let late = bootstrap(&master, &Machine::new(), "ingest-02", SECRET);
    refused(&late, "enrollment_disabled");
}

#[tokio::test]
async fn c2_c3_first_contact_gives_an_api_key_which_is_all_a_later_start_needs() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    let machine = Machine::new();
    let mut worker = start(&machine, &master, Some(SECRET));
    let seen = beat(&master, &mut worker, None).await;
    drop(worker);
    let (key, node_id) = (machine.file("api_key"), machine.node_id());
    assert!(key.starts_with("enroll_key_"), "an API key");
    assert!(!machine.state().join("agent.crt").exists());
    let listed = master.json(&["node", "list"]);
    assert_eq!(listed["items"][0]["name"], "ingest-01", "C6: it joined the fleet");

    set(&master, json!({"enabled": false})).await;
    let mut worker = start(&machine, &master, None);
    beat(&master, &mut worker, Some(seen)).await;
    assert_eq!((machine.file("api_key"), machine.node_id()), (key, node_id));
}

#[tokio::test]
async fn c4_after_a_rotation_the_new_secret_counts_and_the_old_one_in_its_grace_period_alone() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    set(&master, json!({"secret": ROTATED})).await;
    let machine = Machine::new();
    refused(&bootstrap(&master, &machine, "ingest-01", SECRET), "bad_secret");
    assert_eq!(bootstrap(&master, &machine, "ingest-01", ROTATED).code, 0);

    set(&master, json!({"secret": SECRET, "previous_valid_secs": 3600})).await;
    assert_eq!(bootstrap(&master, &Machine::new(), "ingest-02", ROTATED).code, 0);
    assert_eq!(bootstrap(&master, &Machine::new(), "ingest-03", SECRET).code, 0);
}

#[tokio::test]
async fn c4_d5_who_still_uses_the_old_secret_is_counted_and_named() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    set(&master, json!({"secret": ROTATED, "previous_valid_secs": 3600})).await;
    let count = "enroll_old_secret_uses_total{method=\"secret\"}";
    assert_eq!(counted(&master, count).await, "0");
    assert_eq!(bootstrap(&master, &Machine::new(), "ingest-01", ROTATED).code, 0);
    assert_eq!(counted(&master, count).await, "0", "it has the new one");
    assert_eq!(bootstrap(&master, &Machine::new(), "ingest-02", SECRET).code, 0);
    assert_eq!(counted(&master, count).await, "1");
    let used = event(&master, "old_secret_used").await;
    assert_eq!((&used["node_name"], &used["method"]), (&json!("ingest-02"), &json!("secret")));
    assert!(!used.to_string().contains(SECRET));
}

#[tokio::test]
async fn c6_an_unfamiliar_name_is_told_and_counted_and_patterns_keep_others_out() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    master.json(&["node", "add", "ingest-01"]);
    refused(&bootstrap(&master, &Machine::new(), "ingest-01", SECRET), "name_taken");
    assert_eq!(counted(&master, "enroll_unfamiliar_names_total").await, "0");
    assert_eq!(bootstrap(&master, &Machine::new(), "intruder", SECRET).code, 0);
    assert_eq!(counted(&master, "enroll_unfamiliar_names_total").await, "1");
    let told = event(&master, "unfamiliar_name").await;
    let (name, address) = (json!("intruder"), json!("127.0.0.1"));
    assert_eq!((&told["node_name"], &told["source_ip"]), (&name, &address));
    let listed = master.cli(&["node", "list"]).out;
    assert!(listed.contains("intruder"), "{listed}");

    let path = Machine::new();
    let secret = path.put("secret", SECRET);
    let only =
        ["auto-enrollment", "enable", "--secret-path", &secret, "--name-pattern", "ingest-*"];
    assert_eq!(master.cli(&only).code, 0);
    let said = bootstrap(&master, &Machine::new(), "backup-01", SECRET);
    refused(&said, "denied");
    assert!(said.err.contains("name patterns"), "the operator is told what to look at: {said:?}");
    assert_eq!(bootstrap(&master, &Machine::new(), "ingest-02", SECRET).code, 0);
}

#[tokio::test]
async fn c5_a_fresh_directory_is_told_why_not_and_replaces_where_that_is_allowed() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    let machine = Machine::new();
    let mut worker = start(&machine, &master, Some(SECRET));
    beat(&master, &mut worker, None).await;

    let fresh = Machine::new();
    refused(&bootstrap(&master, &fresh, "ingest-01", SECRET), "name_taken");
    set(&master, json!({"replace": true})).await;
    let said = bootstrap(&master, &fresh, "ingest-01", SECRET);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(fresh.node_id(), machine.node_id(), "the node stays the same");
    assert_eq!(worker.ended(), 7, "its earlier identity is refused: {}", machine.log());
}

#[tokio::test]
async fn c5_c8_a_cached_id_and_key_that_do_not_match_end_the_worker_with_the_cause() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    let (one, other) = (Machine::new(), Machine::new());
    assert_eq!(bootstrap(&master, &one, "ingest-01", SECRET).code, 0);
    assert_eq!(bootstrap(&master, &other, "ingest-02", SECRET).code, 0);
    std::fs::write(one.state().join("api_key"), other.file("api_key")).expect("writable");
    let mut worker = start(&one, &master, None);
    assert_eq!(worker.ended(), 7, "{}", one.log());
    assert!(one.log().contains("name_mismatch"), "{}", one.log());

    let mut renamed = other.start_as(configured(&other, &master, "ingest-03", None));
    assert_eq!(renamed.ended(), 7, "{}", other.log());
}

#[tokio::test]
async fn c8_an_address_that_is_wrong_or_not_trusted_is_named_with_what_to_look_at() {
    let master = master();
    set(&master, json!({"enabled": true, "secret": SECRET})).await;
    let tried = |variable: &str, value: &str| {
        let machine = Machine::new();
        let mut command = configured(&machine, &master, "ingest-01", Some(SECRET));
        run(command.args(["bootstrap", "--retry-secs", "1"]).env(variable, value))
    };
    let port = "https://127.0.0.1:1";
    let closed = tried("ENROLL_MASTER_URL", port);
    assert_eq!((closed.code, closed.err.contains("127.0.0.1:1")), (5, true), "{closed:?}");
    assert!(closed.err.contains("firewalls"), "{closed:?}");
    let nowhere = tried("ENROLL_MASTER_URL", "https://nowhere.invalid:7480");
    assert_eq!(
        (nowhere.code, nowhere.err.contains("nowhere.invalid:7480")),
        (5, true),
        "{nowhere:?}"
    );
    let plain = tried("ENROLL_MASTER_URL", "http://127.0.0.1:1");
    assert_eq!((plain.code, plain.err.contains("ENROLL_ALLOW_PLAINTEXT")), (2, true), "{plain:?}");
    let scheme = tried("ENROLL_MASTER_URL", "127.0.0.1:7480");
    assert_eq!((scheme.code, scheme.err.contains("ENROLL_MASTER_URL")), (2, true), "{scheme:?}");
    let other = format!("sha256:{}", "0".repeat(64));
    let trust = tried("ENROLL_CA_FINGERPRINT", &other);
    assert_eq!((trust.code, trust.err.contains("pinned fingerprint")), (4, true), "{trust:?}");
}

#[tokio::test]
async fn c5_c8_without_a_secret_a_name_or_an_identity_there_is_nothing_to_start_from() {
    let master = master();
    let machine = Machine::new();
    let mut nameless = configured(&machine, &master, "", Some(SECRET));
    let said = run(nameless.arg("bootstrap"));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("name"), "{said:?}");
    let said = run(configured(&machine, &master, "ingest-01", None).arg("bootstrap"));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("no proof"), "{said:?}");
}
