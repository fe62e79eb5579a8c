//! Who becomes a member, and what it is given.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use enroll_core::issue::x509::RootCertificate;
use enroll_core::master::MasterConfig;
use enroll_core::model::{Clock as _, SharedSecret, Timestamp};
use serde_json::{Value, json};

use crate::common::fleet::{Fleet, Machine, Setup, leaf};

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_machine_with_a_token_becomes_a_member() {
    let config = |enroller: enroll_core::master::Enroller| {
        let mut config = MasterConfig::default();
        config.steady_addr = Some("100.64.0.1:7481".into());
        enroller.with_config(config)
    };
    let fleet = Fleet::with(Setup { master: Box::new(config), ..Setup::default() }).await;
    let (machine, token) = (Machine::new(), fleet.mint_one_shot().await);
    let answer = fleet.stranger().enroll(&machine.request(&token, "worker-1")).await;

    answer.assert_ok("EnrollAnswer");
    assert_eq!(
        members(&answer.body),
        BTreeSet::from([
            "node_id",
            "node_name",
            "state",
            "health",
            "credentials",
            "master_addr",
            "heartbeat_interval_secs",
            "redelivered"
        ])
    );
    let node_id = answer.body["node_id"].as_str().unwrap();
    assert_eq!((node_id.len(), &node_id[14..15]), (36, "7"), "a UUIDv7");
    assert_eq!(answer.body["node_name"], "worker-1");
    assert_eq!(
        (&answer.body["state"], &answer.body["health"]),
        (&json!("monitoring"), &json!("waiting"))
    );
    assert_eq!(answer.body["master_addr"], "100.64.0.1:7481");
    assert_eq!(answer.body["heartbeat_interval_secs"], 30);
    assert_eq!(answer.body["redelivered"], false);

    let credentials = answer.body["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), 1);
    assert_eq!(
        members(&credentials[0]),
        BTreeSet::from(["kind", "certificate", "ca_bundle", "not_after", "renew_after"])
    );
    let leaf = leaf(&answer.certificate());
    assert_eq!(leaf.id().to_string(), "spiffe://enroll.internal/node/worker-1");
    let bundle = credentials[0]["ca_bundle"].as_str().unwrap();
    let root = RootCertificate::from_pem(bundle).unwrap();
    assert_eq!(root.fingerprint(), fleet.authority.fingerprint());
    leaf.verify_issued_by(&root).unwrap();
    let instant =
        |member: &str| Timestamp::parse_rfc3339(credentials[0][member].as_str().unwrap()).unwrap();
    assert_eq!(instant("not_after"), leaf.not_after());
    assert!(fleet.clock.now() < instant("renew_after"));
    assert!(instant("renew_after") < leaf.not_after());
}

#[tokio::test]
async fn a_lost_answer_is_given_again_to_the_same_key() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (machine, token) = (Machine::new(), fleet.mint_one_shot().await);
    let request = machine.request(&token, "worker-1");
    let client = fleet.stranger();
    let (first, second) = (client.enroll(&request).await, client.enroll(&request).await);
    second.assert_ok("EnrollAnswer");
    assert_eq!(second.body["redelivered"], true);
    assert_eq!(second.body["node_id"], first.body["node_id"]);
    assert_eq!(second.certificate(), first.certificate());
    assert_ne!(second.api_key(), first.api_key(), "a bearer's secret is not kept, so it is new");
    let kinds = |answer: &Value| -> Vec<Value> {
        answer["credentials"].as_array().unwrap().iter().map(|c| c["kind"].clone()).collect()
    };
    assert_eq!(kinds(&first.body), ["x509", "api_key"]);
    assert_eq!(kinds(&second.body), ["x509", "api_key"]);

    let thief = client.enroll(&Machine::new().request(&token, "worker-1")).await;
    thief.assert_problem(410);
    assert_eq!(thief.reason(), "already_consumed");
}

#[tokio::test]
async fn a_bound_token_needs_no_name() {
    let fleet = Fleet::start().await;
    let wish = enroll_core::master::MintRequest::new();
    let wish = wish.with_node_name(crate::common::fleet::name("db.rack-7"));
    let token = fleet.mint(wish).await;
    let nameless = json!({"token": token.expose(), "csr": Machine::new().csr()});
    let answer = fleet.stranger().enroll(&nameless).await;
    assert_eq!(answer.body["node_name"], "db.rack-7", "{}", answer.text);
}

#[tokio::test]
async fn either_secret_counts_while_the_cluster_rotates_it() {
    let (new, old) = ("n".repeat(16) + &"e".repeat(16), "o".repeat(16) + &"l".repeat(16));
    let secrets = [new.clone(), old.clone()];
    let master = move |mut enroller: enroll_core::master::Enroller| {
        for secret in secrets {
            enroller = enroller.with_cluster_secret(&SharedSecret::configured(secret).unwrap());
        }
        enroller
    };
    let fleet = Fleet::with(Setup { master: Box::new(master), ..Setup::default() }).await;
    for (n, secret) in [new, old].iter().enumerate() {
        let mut request =
            Machine::new().request(&fleet.mint_one_shot().await, &format!("worker-{n}"));
        request["shared_secret"] = json!(secret);
        assert_eq!(fleet.stranger().enroll(&request).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_nobody_knows_in_a_request_is_ignored() {
    let fleet = Fleet::start().await;
    let mut request = Machine::new().request(&fleet.mint_one_shot().await, "worker-1");
    request["later"] = json!({"deep": [1, {"er": null}]});
    request["shared_secret"] = Value::Null;
    request["facts"] = json!({"arch": "x86_64", "gpus": 2, "labels": {"zone": "a"}});
    let answer = fleet.stranger().enroll(&request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let node = fleet.enroller.node(&crate::common::fleet::name("worker-1")).await.unwrap();
    assert_eq!(node.facts.arch.as_deref(), Some("x86_64"));
    assert_eq!(node.facts.other["gpus"], 2);
}

#[tokio::test]
async fn the_media_type_of_a_request_does_not_matter() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    for (n, media_type) in
        ["text/plain", "application/x-www-form-urlencoded", ""].iter().enumerate()
    {
        let token = fleet.mint_one_shot().await;
        let body = Machine::new().request(&token, &format!("worker-{n}")).to_string();
        let request = client.http.post(fleet.enroll.url("https", "/v1/enroll"));
        let request = request.header("content-type", *media_type).body(body);
        let status = request.send().await.unwrap().status();
        assert_eq!(status, StatusCode::OK, "{media_type:?}");
    }
}
