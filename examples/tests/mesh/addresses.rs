//! A5, A6: the address a machine enrolls at, and the one it reports to.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Home, Machine, Master, at, free_ports, in_time, program};

/// `serve` at these ports; `enroll` is an address or `none`.
fn serve(home: &Home, enroll: &str, [steady, operator]: [u16; 2]) -> Command {
    let mut command = program();
    command.arg("serve").arg("--data-dir").arg(home.data()).args(["--enroll-listen", enroll]);
    command.args(["--steady-listen", &format!("127.0.0.1:{steady}")]);
    command.args(["--operator-listen", &format!("127.0.0.1:{operator}")]);
    command.args(["--heartbeat-interval-secs", "1"]);
    command
}

async fn beats_after(master: &Master, name: &str, instant: &Value) {
    in_time("a later heartbeat", async || {
        let node = master.node(name).await;
        let seen = node["last_seen_at"].as_str()?;
        (Some(seen) > instant.as_str()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a5_the_enroll_listener_can_be_closed_for_good() {
    let [enroll, steady, operator] = free_ports();
    let home = Home::new();
    let command = serve(&home, &format!("127.0.0.1:{enroll}"), [steady, operator]);
    let master = home.start_as(command);
    let machine = Machine::new();
    let minted = master.mint(json!({"node_name": "worker-1"})).await;
    let late = master.mint(json!({"node_name": "worker-2"})).await;
    let token = machine.put("token", minted["token"].as_str().expect("a token"));
    let url = master.ready("enroll_url").to_owned();
    let pin = master.ready("ca_fingerprint").to_owned();
    let _serving =
        machine.start(&[&["serve"], &at(&master)[..], &["--token-path", &token]].concat());
    beats_after(&master, "worker-1", &Value::Null).await;

    let (_, home) = master.stop();
    let closed = serve(&home, "none", [steady, operator]);
    let master = home.start_as(closed);
    assert_eq!(master.ready_json()["enroll_url"], Value::Null);
    assert!(master.out().contains("--enroll-listen none"), "{}", master.out());
    assert!(!master.out().contains("enroll-worker"), "there is nothing to do next");
    let minted = master.cli(&["token", "mint"]);
    assert!(minted.code == 0 && !minted.out.contains("enroll-worker"), "{minted:?}");
    let before = master.node("worker-1").await["last_seen_at"].clone();
    beats_after(&master, "worker-1", &before).await;

    let nobody = Machine::new();
    let token = nobody.put("token", late["token"].as_str().expect("a token"));
    let said = nobody.run(&[
        "bootstrap",
        "--master-url",
        &url,
        "--ca-fingerprint",
        &pin,
        "--token-path",
        &token,
        "--retry-secs",
        "0",
    ]);
    assert_eq!(said.code, 5, "nobody listens there: {said:?}");
}

#[tokio::test]
async fn a6_the_environment_says_where_to_report_whatever_the_master_said() {
    let [steady] = free_ports();
    let home = Home::new();
    let mut command = home.serve();
    command.args(["--steady-addr", "192.0.2.1:7481"]);
    let wrong = home.start_as(command);
    let machine = Machine::new();
    let minted = wrong.mint(json!({"node_name": "worker-1"})).await;
    let said = machine.bootstrap(&wrong, minted["token"].as_str().expect("a token"), &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(machine.file("identity.json").contains("192.0.2.1:7481"));

    let (_, home) = wrong.stop();
    let mut command = program();
    command.arg("serve").arg("--data-dir").arg(home.data());
    command.args(["--enroll-listen", "none", "--operator-listen", "127.0.0.1:0"]);
    command.args(["--steady-listen", &format!("127.0.0.1:{steady}")]);
    let master = home.start_as(command);
    let mut worker = machine.command(&["serve"]);
    worker.env("ENROLL_MASTER_ADDR", format!("127.0.0.1:{steady}"));
    let _serving = machine.start_as(worker);
    beats_after(&master, "worker-1", &Value::Null).await;
}

#[tokio::test]
async fn a13_a_mesh_without_its_client_is_not_configured_and_spends_nothing() {
    let master = Master::start(&["--issue", "x509", "--issue", "headscale"]);
    let minted = master.mint(json!({"node_name": "worker-1"})).await;
    let token = minted["token"].as_str().expect("a token");
    let said = Machine::new().bootstrap(&master, token, &["--retry-secs", "0"]);
    assert_eq!(said.code, 5, "it would be tried again: {said:?}");
    assert!(said.err.contains("not_configured"), "{said:?}");
    assert_eq!(master.uses(&minted["id"]).await, (0, 0));
    let (_, home) = master.stop();
    let master = home.start(&[]);
    let said = Machine::new().bootstrap(&master, token, &[]);
    assert_eq!(said.code, 0, "the token is as good as before: {said:?}");

    let said = master.cli(&["mesh", "list"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("no client for the control plane of a mesh"), "{said:?}");
}

#[test]
fn half_a_headscale_refuses_to_start() {
    for (flags, word) in [
        (&["--headscale-url", "https://mesh.example"][..], "--headscale-api-key-path"),
        (&["--headscale-api-key-path", "hs.key"], "--headscale-url"),
    ] {
        let said = Home::new().refuses(flags);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(word), "{said:?}");
    }
    let home = Home::new();
    let key = home.beside("hs.key");
    std::fs::write(&key, "hskey-api-s3cret").expect("the disk is writable");
    let key = key.to_str().expect("a path in UTF-8");
    let flags = ["--headscale-url", "mesh.example", "--headscale-api-key-path", key];
    let said = home.refuses(&flags);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("http(s)://") && !said.err.contains("s3cret"), "{said:?}");
}
