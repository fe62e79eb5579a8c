//! Another implementation of everything: a machine enrolls with openssl and curl alone.

mod harness;

use std::process::Command;

use harness::{Machine, Master, Said, run};
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/stock_tools.sh");

fn enroll(master: &Master, machine: &Machine, minted: &Value) -> Said {
    let token = machine.put("token", minted["token"].as_str().expect("a token"));
    let mut command = Command::new("bash");
    command.arg(SCRIPT).arg(master.ready("enroll_url")).arg(master.data().join("ca.crt"));
    command.args([&token, "node-1"]).arg(machine.state());
    run(command.arg(master.ready("operator_url").trim_start_matches("https://")))
}

#[tokio::test]
async fn b4_d8_openssl_and_curl_are_all_a_machine_needs() {
    let master = Master::start(&[]);
    let minted = master.mint(json!({"node_name": "node-1"})).await;
    let machine = Machine::new();
    let said = enroll(&master, &machine, &minted);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out.matches("Verify return code: 0 (ok)").count(), 3, "{said:?}");
    assert!(said.out.contains("heartbeat_interval_secs"), "{said:?}");
    let node = master.node("node-1").await;
    assert_eq!((&node["health"], &node["state"]), (&json!("ready"), &json!("monitoring")));
    assert_eq!(master.uses(&minted["id"]).await, (1, 1));

    let again = enroll(&master, &Machine::new(), &minted);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("refused with 410: already_consumed"), "{again:?}");
}

#[tokio::test]
async fn b4_curl_refuses_a_master_under_another_root() {
    let (master, other) = (Master::start(&[]), Master::start(&[]));
    let minted = master.mint(json!({"node_name": "node-1"})).await;
    std::fs::copy(other.data().join("ca.crt"), master.data().join("ca.crt")).expect("writable");
    let said = enroll(&master, &Machine::new(), &minted);
    assert_eq!(said.code, 60, "curl's code for a certificate it cannot verify: {said:?}");
}
