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
}

#[tokio::test]
async fn d4_one_string_is_all_it_takes_and_a_typo_in_it_opens_no_connection() {
    let master = Master::start(&[]);
    let minted = master.json(&["token", "mint", "--node-name", "node-1"]);
    let invitation = minted["invitation"].as_str().expect("an invitation");
    let machine = Machine::new();
    let mut cut = invitation.to_owned();
    cut.truncate(invitation.len() - 3);
    let path = machine.put("cut", &cut);
    let said = machine.run(&["bootstrap", "--join-path", &path]);
    assert_eq!(said.code, 2, "{said:?}");
    // Where a connection would be tried, nobody listens.
    let nowhere = ["--master-url", "https://127.0.0.1:1"];
    let pin = ["--ca-fingerprint", master.ready("ca_fingerprint")];
    let mut swapped: Vec<char> = text(&minted).chars().collect();
    let last = swapped.len() - 8;
    swapped.swap(last, last - 1);
    if swapped[last] == swapped[last - 1] {
        swapped[last] = if swapped[last] == 'a' { 'b' } else { 'a' };
    }
    let path = machine.put("swapped", &swapped.into_iter().collect::<String>());
    let args = [&["bootstrap", "--token-path", &path][..], &nowhere, &pin].concat();
    let said = machine.run(&args);
    assert_eq!((said.code, said.err.contains("reach")), (2, false), "{said:?}");
    assert!(!said.err.contains(text(&minted)), "{said:?}");
    assert_eq!(master.uses(&minted["id"]).await, (0, 0));

    let path = machine.put("invitation", invitation);
    let said = machine.run(&["bootstrap", "--join-path", &path]);
    assert_eq!(said.code, 0, "address, pin, token and name in one: {said:?}");
    assert_eq!(master.node("node-1").await["state"], "monitoring");
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
async fn b7_files_lost_mid_run_are_a_failed_heartbeat_and_no_way_back() {
    let master = Master::start(&[]);
    let added = master.json(&["node", "add", "node-1"]);
    let machine = Machine::new();
    assert_eq!(machine.bootstrap(&master, text(&added), &[]).code, 0);
    let mut worker = machine.start(&["serve", "--heartbeat-interval", "1s"]);
    let beat = async |worker: &mut harness::Serving<'_>, seen: &Value| {
        in_time("a heartbeat", async || {
            assert!(worker.runs(), "{}", machine.log());
            let last = master.node("node-1").await["last_seen_at"].clone();
            (!last.is_null() && last != *seen).then_some(last)
        })
        .await
    };
    let seen = beat(&mut worker, &Value::Null).await;
    let (leaf, away) = (machine.state().join("agent.crt"), machine.state().join("away"));
    std::fs::rename(&leaf, &away).expect("it is there");
    worker.says("heartbeat failed");
    assert!(!machine.log().contains("waiting:"), "it does not start over: {}", machine.log());
    let failed = master.node("node-1").await["last_seen_at"].clone();
    std::fs::rename(&away, &leaf).expect("it is there");
    let again = beat(&mut worker, &failed).await;
    assert!(again.as_str() > seen.as_str(), "{seen} {again}");
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

#[tokio::test]
async fn b4_a_setting_that_cannot_be_is_told_before_the_token_is_spent() {
    let master = Master::start(&[]);
    let minted = master.json(&["token", "mint", "--node-name", "node-1"]);
    let machine = Machine::new();
    let config = machine.state().join("none/agent.toml");
    let config = config.to_str().expect("a path in UTF-8");
    let wrong = [
        ["--master-addr", "https://10.0.0.1:7481"],
        ["--master-addr", "10.0.0.1"],
        ["--config-path", config],
        ["--request-timeout", "0"],
    ];
    for flags in wrong {
        let said = machine.bootstrap(&master, text(&minted), &flags);
        assert_eq!(said.code, 2, "{flags:?}: {said:?}");
    }
    assert_eq!(master.uses(&minted["id"]).await, (0, 0));
}

#[tokio::test]
async fn b9_b11_b12_the_inventory_of_a_node_comes_from_its_heartbeats() {
    let master = Master::start(&["--heartbeat-interval-secs", "1"]);
    let added = master.json(&["node", "add", "node-1", "--label", "rack=b2"]);
    let machine = Machine::new();
    let said = machine.bootstrap(&master, text(&added), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let config = machine.put("tuned.toml", "");
    let flags = ["--config-path", &config, "--fact", "migration_port=7000", "--label", "rack=a1"];
    let more = ["--label", "disk=nvme", "--request-timeout", "5s", "--heartbeat-interval", "1s"];
    let mut worker = machine.start(&[&["serve"][..], &flags, &more].concat());
    let node = in_time("the inventory", async || {
        assert!(worker.runs(), "{}", machine.log());
        let node = master.node("node-1").await;
        (node["facts"]["migration_port"] == "7000").then_some(node)
    })
    .await;
    let labels = json!({"rack": "b2", "disk": "nvme"});
    assert_eq!(node["labels"], labels, "the operator's label wins over the machine's own");
    assert_eq!(
        (&node["facts"]["os"], &node["arch"]),
        (&json!("linux"), &json!(std::env::consts::ARCH))
    );
    assert!(node["facts"]["hostname"].is_string(), "{node}");
    let arch = ["node", "list", "--arch", std::env::consts::ARCH, "--status", "ready"];
    assert_eq!(master.json(&arch)["items"].as_array().map(Vec::len), Some(1));
    let other = ["node", "list", "--arch", "s390x"];
    assert_eq!(master.json(&other)["items"].as_array().map(Vec::len), Some(0));

    let viewer = master.json(&["admin", "add", "--name", "ann", "--role", "viewer"]);
    let token = machine.put("ann", viewer["token"].as_str().expect("a token"));
    let said =
        master.cli(&["node", "get", "node-1", "--admin-token-path", &token, "--output", "json"]);
    let seen: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {said:?}"));
    let mut members: Vec<&String> = seen.as_object().expect("an object").keys().collect();
    members.sort();
    assert_eq!(members, ["arch", "health", "last_seen_at", "name", "state", "status"], "{seen}");
}
