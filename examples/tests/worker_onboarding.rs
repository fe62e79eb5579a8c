//! A host is registered, its snippet is pasted, its worker enrolls with a one-shot token and the
//! cluster secret, and lives on what it keeps in its volume.

mod harness;

use std::net::TcpListener;
use std::process::Command;

use harness::{Api, Home, Machine, Master, Said, Serving, in_time, run, worker};
use serde_json::{Value, json};

const BEATS: &str = "enroll_worker_heartbeats_total{outcome=\"ok\"} ";
const SECRET: &str = "correct-horse-battery-staple-0123456789";

fn master(flags: &[&str]) -> Master {
    let home = Home::new();
    let path = home.beside("cluster-secret");
    std::fs::write(&path, SECRET).expect("the disk is writable");
    let secret = ["--cluster-secret-path", path.to_str().expect("a path in UTF-8")];
    home.start(&[&secret[..], &["--attempts-per-minute", "0"], flags].concat())
}

/// A worker in the environment that a container gives it, and nothing on its command line.
fn container(volume: &Machine, master: &Master, token: &Value, secret: &str) -> Command {
    let mut command = worker();
    command.env("ENROLL_MASTER_URL", master.ready("enroll_url"));
    command.env("ENROLL_CA_FINGERPRINT", master.ready("ca_fingerprint"));
    command.env("ENROLL_NODE_NAME", "worker-1");
    command.env("ENROLL_TOKEN", text(token));
    command.env("ENROLL_SHARED_SECRET_FILE", volume.put("secret", secret));
    command.env("ENROLL_STATE_DIR", volume.state());
    command.env("ENROLL_METRICS_PORT", "0");
    command
}

fn text(minted: &Value) -> &str {
    minted["token"].as_str().expect("a token")
}

fn refused(said: &Said, reason: &str) {
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains(reason), "{said:?}");
}

/// Waits for a heartbeat later than `seen`; when it was.
async fn beat(master: &Master, worker: &mut Serving<'_>, seen: Option<Value>) -> Value {
    in_time("a heartbeat", async || {
        assert!(worker.runs());
        let node = master.node("worker-1").await;
        let last = node["last_seen_at"].clone();
        (node["health"] == "ready" && seen.as_ref() != Some(&last)).then_some(last)
    })
    .await
}

#[tokio::test]
async fn a1_the_snippet_of_a_host_has_every_field_filled_in() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let url = master.ready("enroll_url");
    for kind in ["docker", "systemd", "shell"] {
        let snippet = host["install"][kind].as_str().expect("a snippet");
        assert!(snippet.contains(SECRET), "{kind}: the current secret: {snippet}");
        let alone = [text(&host), url, "worker-1", master.ready("ca_fingerprint")];
        let joined = host["invitation"].as_str().expect("an invitation");
        let filled = alone.iter().all(|field| snippet.contains(field));
        assert!(filled || snippet.contains(joined), "{kind}: {snippet}");
    }
    assert_eq!(master.node("worker-1").await["state"], "pending");
}

#[tokio::test]
async fn a2_a4_a5_a17_a_worker_enrolls_from_its_environment_and_resumes_from_its_volume() {
    let master = master(&["--heartbeat-interval-secs", "1"]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let mut worker = volume.start_as(container(&volume, &master, &host, SECRET));
    let seen = beat(&master, &mut worker, None).await;
    assert_eq!(master.node("worker-1").await["state"], "monitoring");
    drop(worker);
    let (node_id, key) = (volume.node_id(), volume.file("agent.key"));

    // The container is made again with the same volume and the token that was consumed.
    let mut command = container(&volume, &master, &host, SECRET);
    command.env("ENROLL_MASTER_URL", "https://127.0.0.1:1");
    let mut worker = volume.start_as(command);
    beat(&master, &mut worker, Some(seen)).await;
    assert_eq!((volume.node_id(), volume.file("agent.key")), (node_id, key), "A17: it resumes");
    assert_eq!(master.uses(&host["id"]).await, (1, 1));
    let attempts = master.json(&["node", "attempts", "worker-1"]);
    assert_eq!(attempts["items"].as_array().map(Vec::len), Some(1), "{attempts}");
}

#[tokio::test]
async fn a2_a_variable_and_its_file_form_exclude_each_other() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let mut command = container(&volume, &master, &host, SECRET);
    let said = run(command.arg("bootstrap").env("ENROLL_SHARED_SECRET", SECRET));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("ENROLL_SHARED_SECRET_FILE") && !said.err.contains(SECRET));

    let mut command = container(&volume, &master, &host, SECRET);
    command.env_remove("ENROLL_TOKEN").env("ENROLL_TOKEN_FILE", volume.put("token", text(&host)));
    command.env_remove("ENROLL_NODE_NAME");
    command.env("ENROLL_NODE_NAME_FILE", volume.put("name", "worker-1\n"));
    let said = run(command.arg("bootstrap"));
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test]
async fn a17_what_only_the_first_call_needs_may_be_gone_after_it() {
    let master = master(&["--heartbeat-interval-secs", "1"]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let mut command = container(&volume, &master, &host, SECRET);
    let token = volume.put("token", text(&host));
    command.env_remove("ENROLL_TOKEN").env("ENROLL_TOKEN_FILE", &token);
    let said = run(command.arg("bootstrap"));
    assert_eq!(said.code, 0, "{said:?}");

    let mut command = container(&volume, &master, &host, SECRET);
    command.env_remove("ENROLL_TOKEN").env("ENROLL_TOKEN_FILE", &token);
    for secret in [&token, &volume.put("secret", "")] {
        std::fs::remove_file(secret).expect("it was there");
    }
    // Without the permission that it would take to enroll there.
    command.env("ENROLL_MASTER_URL", "http://127.0.0.1:1");
    let mut worker = volume.start_as(command);
    beat(&master, &mut worker, None).await;

    let mut command = container(&volume, &master, &host, SECRET);
    command.env("ENROLL_MASTER_URL", "http://127.0.0.1:1");
    let said = run(command.arg("bootstrap"));
    assert_eq!((said.code, said.out.trim()), (0, "already bootstrapped"), "{said:?}");
}

#[tokio::test]
async fn a2_an_empty_file_of_a_secret_is_told_before_any_call() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let said = run(container(&volume, &master, &host, "\n").arg("bootstrap"));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("ENROLL_SHARED_SECRET_FILE"), "{said:?}");
    let attempts = master.json(&["node", "attempts", "worker-1"]);
    assert_eq!(attempts["items"], json!([]), "nobody was called");
}

#[tokio::test]
async fn a4_a11_a_wrong_secret_is_refused_spends_nothing_and_is_shown_to_the_operator() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let wrong = "incorrect-horse-battery-staple-0123456789";
    let said = run(container(&volume, &master, &host, wrong).arg("bootstrap"));
    refused(&said, "bad_secret");
    assert_eq!(master.uses(&host["id"]).await, (0, 0));
    in_time("the attempt", async || {
        let attempts = master.json(&["node", "attempts", "worker-1"]);
        (attempts["items"][0]["reason"] == "bad_secret").then_some(())
    })
    .await;
    let metrics = master.api().get("/metrics").await.body;
    let counted = r#"reason="bad_secret""#;
    assert!(metrics.as_str().is_some_and(|text| text.contains(counted)), "{metrics}");

    let said = volume.bootstrap(&master, text(&host), &[]);
    refused(&said, "bad_request");
    let said = run(container(&volume, &master, &host, SECRET).arg("bootstrap"));
    assert_eq!(said.code, 0, "with the right one the same token counts: {said:?}");
}

#[tokio::test]
async fn a4_d5_two_cluster_secrets_count_while_one_replaces_the_other() {
    let old = "incorrect-horse-battery-staple-0123456789";
    let home = Home::new();
    let path = home.beside("cluster-secret");
    std::fs::write(&path, format!("{SECRET}\n{old}\n")).expect("the disk is writable");
    let flags = ["--cluster-secret-path", path.to_str().expect("a path in UTF-8")];
    let master = home.start(&flags);
    for (node, secret, told) in [("worker-1", SECRET, 0), ("worker-2", old, 1)] {
        let host = master.json(&["node", "add", node]);
        let volume = Machine::new();
        let mut command = container(&volume, &master, &host, secret);
        let said = run(command.arg("bootstrap").env("ENROLL_NODE_NAME", node));
        assert_eq!(said.code, 0, "{said:?}");
        let metrics = master.api().get("/metrics").await.body;
        let line = format!("enroll_old_secret_uses_total{{method=\"token_and_secret\"}} {told}\n");
        assert!(metrics.as_str().is_some_and(|text| text.contains(&line)), "{line}{metrics}");
    }
    let used = in_time("the event", async || {
        let events = master.json(&["events", "--all"]);
        let items = events["items"].as_array().expect("a list");
        items.iter().find(|event| event["type"] == "old_secret_used").cloned()
    })
    .await;
    assert_eq!(used["node_name"], "worker-2", "who still has to be given the new one");

    let (status, home) = master.stop();
    assert!(status.success());
    std::fs::write(&path, SECRET).expect("the disk is writable");
    let master = home.start(&flags);
    let host = master.json(&["node", "add", "worker-1-again"]);
    let volume = Machine::new();
    let mut command = container(&volume, &master, &host, old);
    let said = run(command.arg("bootstrap").env("ENROLL_NODE_NAME", "worker-1-again"));
    refused(&said, "bad_secret");
}

#[tokio::test]
async fn a3_a17_a_spent_token_is_already_consumed_and_regenerate_mints_a_fresh_one() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    assert_eq!(run(container(&volume, &master, &host, SECRET).arg("bootstrap")).code, 0);

    let fresh = Machine::new();
    let said = run(container(&fresh, &master, &host, SECRET).arg("bootstrap"));
    refused(&said, "already_consumed");

    let lost = master.json(&["node", "token", "worker-1"]);
    let again = master.json(&["node", "token", "worker-1"]);
    let said = run(container(&fresh, &master, &lost, SECRET).arg("bootstrap"));
    refused(&said, "invalid_token");
    let said = run(container(&fresh, &master, &again, SECRET).arg("bootstrap"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(fresh.node_id(), volume.node_id(), "the host record stays");
    let old = volume.member(&master).get("/v1/self").await;
    assert_eq!(old.status, 401, "what was on the lost volume is worth nothing: {old:?}");
    assert_eq!(fresh.member(&master).get("/v1/self").await.status, 200);
}

#[tokio::test]
async fn a3_a_bound_token_enrolls_no_other_host() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let mut command = container(&volume, &master, &host, SECRET);
    let said = run(command.arg("bootstrap").env("ENROLL_NODE_NAME", "worker-2"));
    refused(&said, "name_mismatch");
    assert_eq!(master.uses(&host["id"]).await, (0, 0));
}

#[tokio::test]
async fn a14_a16_silence_degrades_a_host_and_a_heartbeat_brings_it_back() {
    let master = master(&["--stale-threshold-secs", "3", "--heartbeat-interval-secs", "1"]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let mut worker = volume.start_as(container(&volume, &master, &host, SECRET));
    beat(&master, &mut worker, None).await;
    drop(worker);
    let node = in_time("silence to be noticed", async || {
        let node = master.node("worker-1").await;
        (node["state"] == "degraded").then_some(node)
    })
    .await;
    assert_eq!((&node["last_state"], &node["health"]), (&json!("monitoring"), &json!("degraded")));
    let mut worker = volume.start_as(container(&volume, &master, &host, SECRET));
    beat(&master, &mut worker, None).await;
    in_time("its state", async || {
        (master.node("worker-1").await["state"] == "monitoring").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a18_the_worker_tells_what_it_does_on_the_port_it_was_given() {
    let master = master(&["--heartbeat-interval-secs", "1"]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("it is bound").port().to_string();
    drop(free);
    let mut command = container(&volume, &master, &host, SECRET);
    command.env("ENROLL_METRICS_PORT", &port);
    let mut worker = volume.start_as(command);
    beat(&master, &mut worker, None).await;
    let root = volume.file("ca.crt");
    let scraped = Api::new(&format!("http://127.0.0.1:{port}"), &root, None).get("/metrics").await;
    let text = scraped.body.as_str().expect("a text");
    assert_eq!(scraped.status, 200, "{text}");
    assert!(text.contains("enroll_worker_enrolled 1"), "{text}");
    let beats = text.lines().find_map(|line| line.strip_prefix(BEATS)?.parse::<u64>().ok());
    assert!(beats >= Some(1), "{text}");
    assert!(!text.contains("worker-1"), "no name is a label: {text}");
}

#[tokio::test]
async fn a18_a_metrics_port_in_use_names_the_variable_that_moves_it() {
    let master = master(&[]);
    let host = master.json(&["node", "add", "worker-1"]);
    let volume = Machine::new();
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let mut command = container(&volume, &master, &host, SECRET);
    let said = run(command.env("ENROLL_METRICS_PORT", &port));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("ENROLL_METRICS_PORT") && said.err.contains(&port), "{said:?}");
    assert_eq!(master.uses(&host["id"]).await, (0, 0), "the token is still good");
}
