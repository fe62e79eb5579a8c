//! Starting, restarting, ending.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::harness::{Master, program, run};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[tokio::test]
async fn it_needs_no_configuration_and_says_where_it_answers() {
    let master = Master::start(&[]);
    let data = master.data();
    assert_eq!(mode(&data), 0o700);
    assert_eq!((mode(&data.join("ca.key")), mode(&data.join("admin.token"))), (0o600, 0o600));
    assert_eq!(mode(&data.join("enroll.db")), 0o600);

    let ready = master.ready_json();
    let keys: Vec<&String> = ready.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["ca_fingerprint", "enroll_url", "operator_url", "pid", "steady_addr"]);
    assert!(master.ready("enroll_url").starts_with("https://127.0.0.1:"));
    assert!(master.ready("operator_url").starts_with("https://127.0.0.1:"));
    assert!(!master.ready("steady_addr").ends_with(":0"));

    let minted = master.api().post("/v1/tokens", &json!({})).await;
    assert_eq!(minted.status, 201, "{minted:?}");
    assert_eq!(minted.body["ca_fingerprint"], ready["ca_fingerprint"]);

    let said = master.out();
    for next in ["token mint", "enroll-worker serve", master.ready("ca_fingerprint")] {
        assert!(said.contains(next), "{said}");
    }
    let token = std::fs::read_to_string(data.join("admin.token")).expect("a token");
    assert!(!said.contains(token.trim()) && !master.log().contains(token.trim()));
}

#[tokio::test]
async fn a_restart_keeps_the_authority_the_operators_and_the_tokens() {
    let master = Master::start(&[]);
    let minted = master.api().post("/v1/tokens", &json!({})).await.body;
    let fingerprint = master.ready("ca_fingerprint").to_owned();
    let (status, home) = master.stop();
    assert_eq!(status.code(), Some(0));
    assert!(!home.data().join("ready.json").exists(), "it does not answer any more");

    let master = home.start(&[]);
    assert_eq!(master.ready("ca_fingerprint"), fingerprint);
    let tokens = master.api().get("/v1/tokens").await.body;
    assert_eq!(tokens["items"][0]["id"], minted["id"]);
    assert_eq!(tokens["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_master_that_was_killed_starts_again_and_replaces_what_it_said() {
    let master = Master::start(&[]);
    let minted = master.api().post("/v1/tokens", &json!({})).await.body;
    let home = master.kill();
    assert!(home.data().join("ready.json").exists(), "nobody removed it");
    // The harness waits for the process id of the new one.
    let master = home.start(&[]);
    assert_eq!(master.api().get("/v1/tokens").await.body["items"][0]["id"], minted["id"]);
}

#[test]
fn a_second_master_on_the_same_directory_is_refused() {
    let master = Master::start(&[]);
    let data = master.data();
    let said = run(program()
        .args(["serve", "--operator-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(&data));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("another master is running"), "{said:?}");
    assert!(data.join("ready.json").exists(), "the first one still answers");
}
