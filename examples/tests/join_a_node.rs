//! A join token is minted, a machine redeems it once, its node becomes ready.

mod harness;

use std::os::unix::fs::PermissionsExt as _;

use harness::{Machine, Master, at, in_time};
use serde_json::{Value, json};

fn text(minted: &Value) -> &str {
    minted["token"].as_str().expect("a token")
}

fn mode(machine: &Machine, name: &str) -> u32 {
    let file = std::fs::metadata(machine.state().join(name)).expect("it is there");
    file.permissions().mode() & 0o7777
}

#[tokio::test]
async fn b1_b2_a_mint_binds_clamps_and_shows_the_token_this_once() {
    let master = Master::start(&[]);
    let bound = ["token", "mint", "--ttl", "10m", "--max-uses", "5", "--node-name", "node-1"];
    let bound = master.json(&bound);
    assert_eq!((&bound["ttl_secs"], &bound["max_uses"]), (&json!(600), &json!(1)), "{bound}");
    assert_eq!(bound["node_name"], "node-1");
    assert_eq!(bound["ca_fingerprint"], master.ready("ca_fingerprint"));
    assert!(text(&bound).starts_with("enroll_"));

    let fleet = master.json(&["token", "mint"]);
    assert_eq!((&fleet["ttl_secs"], &fleet["max_uses"]), (&json!(3600), &json!(0)), "{fleet}");
    assert_eq!(master.json(&["token", "mint", "--ttl", "48h"])["ttl_secs"], 86400);
    assert_eq!(master.json(&["token", "mint", "--ttl", "1s"])["ttl_secs"], 60);

    let said = master.cli(&["token", "mint", "--max-uses", "1"]);
    assert!(said.out.contains(master.ready("ca_fingerprint")), "{said:?}");
    let listed = master.cli(&["token", "list", "--output", "json"]);
    assert_eq!((listed.code, listed.out.contains(text(&bound))), (0, false), "never again");
    let store = std::fs::read(master.data().join("enroll.db")).expect("the store");
    let token = text(&bound).as_bytes();
    assert!(!store.windows(token.len()).any(|window| window == token), "its hash alone is kept");
}

#[tokio::test]
async fn b4_b5_b6_bootstrap_writes_the_identity_once_and_is_safe_to_run_again() {
    let master = Master::start(&[]);
    let minted = master.json(&["token", "mint", "--node-name", "node-1"]);
    let machine = Machine::new();
    let args = ["--node-name", "node-1", "--advertised-endpoint", "https://10.0.0.21:9443"];
    let args = [&args[..], &["--fact", "migration_host=10.0.0.21"]].concat();
    let said = machine.bootstrap(&master, text(&minted), &args);
    assert_eq!(said.code, 0, "{said:?}");
    let modes = ["agent.key", "agent.crt", "ca.crt"].map(|name| mode(&machine, name));
    assert_eq!(modes, [0o600, 0o644, 0o644]);
    let (key, config) = (machine.file("agent.key"), machine.file("agent.toml"));
    assert!(config.contains("10.0.0.21:9443"), "{config}");

    let again = machine.bootstrap(&master, text(&minted), &args);
    assert_eq!((again.code, again.out.trim()), (0, "already bootstrapped"));
    assert_eq!(machine.file("agent.key"), key);
    assert_eq!(master.uses(&minted["id"]).await, (1, 1));

    let id = minted["id"].as_str().expect("an id");
    let redeemed = master.json(&["token", "redemptions", id]);
    assert_eq!(redeemed["items"][0]["node_id"], machine.node_id(), "{redeemed}");
    assert_eq!(redeemed["items"][0]["source_ip"], "127.0.0.1");
    let node = master.node("node-1").await;
    assert_eq!(node["arch"], std::env::consts::ARCH, "B11: detected, not asked");
}

#[tokio::test]
async fn b6_a_part_of_an_identity_is_refused_and_force_re_issues_but_for_the_config() {
    let master = Master::start(&[]);
    let minted = master.json(&["token", "mint", "--node-name", "node-1"]);
    let machine = Machine::new();
    assert_eq!(machine.bootstrap(&master, text(&minted), &[]).code, 0);
    let (key, node_id) = (machine.file("agent.key"), machine.node_id());
    let tuned = format!("# tuned by hand\n{}", machine.file("agent.toml"));
    std::fs::write(machine.state().join("agent.toml"), &tuned).expect("writable");
    std::fs::remove_file(machine.state().join("agent.crt")).expect("it is there");

    let again = master.json(&["node", "token", "node-1"]);
    let said = machine.bootstrap(&master, text(&again), &[]);
    assert_eq!(said.code, 6, "{said:?}");
    assert!(said.err.contains("agent.key") && said.err.contains("agent.crt"), "{said:?}");
    assert_eq!(master.uses(&again["id"]).await, (0, 0), "nothing was asked for");

    let said = machine.bootstrap(&master, text(&again), &["--force"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((machine.file("agent.toml"), machine.node_id()), (tuned, node_id));
    assert_ne!(machine.file("agent.key"), key);
    assert_eq!(machine.member(&master).get("/v1/self").await.status, 200);
}

#[tokio::test]
async fn b1_a_fleet_token_admits_as_many_machines_as_it_says() {
    let master = Master::start(&[]);
    let minted = master.json(&["token", "mint", "--max-uses", "2"]);
    for name in ["node-1", "node-2"] {
        let said = Machine::new().bootstrap(&master, text(&minted), &["--node-name", name]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let said = Machine::new().bootstrap(&master, text(&minted), &["--node-name", "node-3"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("exhausted"), "{said:?}");
    assert_eq!(master.uses(&minted["id"]).await, (2, 2));
    let id = minted["id"].as_str().expect("an id");
    assert_ne!(master.cli(&["token", "revoke", id]).code, 0, "there is nothing left to withdraw");

    let unused = master.json(&["token", "mint", "--max-uses", "2"]);
    let id = unused["id"].as_str().expect("an id");
    for _ in 0..2 {
        assert_eq!(master.cli(&["token", "revoke", id]).code, 0, "idempotent");
    }
    let said = Machine::new().bootstrap(&master, text(&unused), &["--node-name", "node-3"]);
    assert_eq!((said.code, said.err.contains("revoked")), (3, true), "{said:?}");
}

#[tokio::test]
async fn b4_the_token_comes_from_exactly_one_source() {
    let master = Master::start(&[]);
    let minted = master.json(&["token", "mint"]);
    let machine = Machine::new();
    let both = machine.bootstrap(&master, text(&minted), &["--token-env", "JOIN_TOKEN"]);
    assert_eq!(both.code, 2, "{both:?}");
    let mut mistyped = text(&minted).to_owned();
    mistyped.pop();
    let said = machine.bootstrap(&master, &mistyped, &["--node-name", "node-1"]);
    assert_eq!(said.code, 2, "a mistyped one is told apart before any call: {said:?}");
    let none = machine.run(&[&["bootstrap"], &at(&master)[..], &["--node-name", "n"]].concat());
    assert_eq!(none.code, 2, "{none:?}");

    let mut command = machine.command(&["bootstrap", "--token-env", "JOIN_TOKEN"]);
    command.args(at(&master)).args(["--node-name", "node-1"]).env("JOIN_TOKEN", text(&minted));
    assert_eq!(harness::run(&mut command).code, 0);
    let path = machine.put("invitation", minted["invitation"].as_str().expect("an invitation"));
    let other = Machine::new();
    let said = other.run(&["bootstrap", "--join-path", &path, "--node-name", "node-2"]);
    assert_eq!(said.code, 0, "one string to paste is all it takes: {said:?}");
}

#[tokio::test]
async fn b7_b8_a_serve_that_waits_goes_over_by_itself_and_its_node_becomes_ready() {
    let master = Master::start(&[]);
    let added = master.json(&["node", "add", "node-1"]);
    let pending = master.node("node-1").await;
    assert_eq!((&pending["state"], &pending["health"]), (&json!("pending"), &json!("waiting")));

    let machine = Machine::new();
    let mut waiting = machine.start(&["serve", "--heartbeat-interval", "1s"]);
    waiting.says("waiting:");
    let said = machine.bootstrap(&master, text(&added), &[]);
    assert_eq!(said.code, 0, "beside the one that waits: {said:?}");
    in_time("a first heartbeat", async || {
        assert!(waiting.runs(), "{}", machine.log());
        let node = master.node("node-1").await;
        assert_eq!(node["id"], pending["id"]);
        assert_eq!(node["state"], "monitoring");
        (node["health"] == "ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn b9_b10_nodes_are_listed_got_by_name_cordoned_and_deleted() {
    let master = Master::start(&[]);
    for name in ["node-1", "node-2"] {
        let added = master.json(&["node", "add", name]);
        assert_eq!(Machine::new().bootstrap(&master, text(&added), &[]).code, 0);
    }
    let names = |listed: &Value| -> Vec<String> {
        let items = listed["items"].as_array().expect("a page");
        items.iter().map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&master.json(&["node", "list"])), ["node-1", "node-2"]);
    assert_eq!(master.json(&["node", "cordon", "node-2"])["status"], "cordoned");
    let cordoned = master.json(&["node", "list", "--status", "cordoned"]);
    assert_eq!(names(&cordoned), ["node-2"]);
    assert_eq!(master.json(&["node", "uncordon", "node-2"])["status"], "waiting");

    let node = master.json(&["node", "get", "node-1"]);
    let id = node["id"].as_str().expect("an id");
    let by_id = master.api().get(&format!("/v1/nodes/{id}")).await;
    assert_eq!((by_id.status, &by_id.body["code"]), (400, &json!("validation_failed")));
    assert!(!master.cli(&["node", "get", "node-1"]).out.contains(id));
    assert!(master.cli(&["node", "get", "node-1", "--show-ids"]).out.contains(id));

    assert_eq!(master.cli(&["node", "delete", "node-1"]).code, 0);
    assert_eq!(names(&master.json(&["node", "list"])), ["node-2"]);
}
