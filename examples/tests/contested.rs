//! Many machines, one one-shot token: exactly one gets in.

mod harness;

use std::sync::Arc;

use enroll_core::model::NodeName;
use enroll_core::worker::WorkerKey;
use harness::{Answer, Api, Master, times};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const CLAIMANTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_d3_of_64_claimants_of_a_one_shot_token_exactly_one_enrolls() {
    let rounds = times(10, 200);
    let master = Master::start(&["--attempts-per-minute", "0"]);
    let claimants = claimants(&master).await;
    let mut lost_the_race = 0;
    for round in 0..rounds {
        let token = master.mint(json!({"max_uses": 1})).await;
        let answers = contest(&claimants, round, &token["token"]).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1, "{won:?}");
        for answer in lost {
            assert_eq!(answer.status, 410, "{answer:?}");
            match answer.body["reason"].as_str() {
                Some("race_consumed") => lost_the_race += 1,
                reason => assert_eq!(reason, Some("already_consumed"), "{answer:?}"),
            }
        }
        assert_eq!(master.uses(&token["id"]).await, (1, 1));
        let path = format!("/v1/tokens/{}/redemptions", token["id"].as_str().expect("an id"));
        let redeemed = master.api().get(&path).await.body;
        assert_eq!(redeemed["items"][0]["node_id"], won[0].body["node_id"]);
        assert_eq!(redeemed["items"][0]["node_name"], won[0].body["node_name"]);
    }
    let nodes = master.api().get("/v1/nodes?limit=500").await.body;
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(rounds), "one for each token");
    eprintln!("{lost_the_race} of {} refusals were race_consumed", rounds * (CLAIMANTS - 1));
}

/// One connection for each, opened before the contest.
async fn claimants(master: &Master) -> Vec<Arc<Api>> {
    let ca = std::fs::read_to_string(master.data().join("ca.crt")).expect("a root");
    let mut claimants = Vec::new();
    for _ in 0..CLAIMANTS {
        let claimant = Api::new(master.ready("enroll_url"), &ca, None);
        assert_eq!(claimant.get("/healthz").await.status, 200);
        claimants.push(Arc::new(claimant));
    }
    claimants
}

/// All call at once, each with a key and a name of its own.
async fn contest(claimants: &[Arc<Api>], round: usize, token: &Value) -> Vec<Answer> {
    let start = Arc::new(Barrier::new(claimants.len()));
    let mut calls = JoinSet::new();
    for (i, claimant) in claimants.iter().enumerate() {
        let name = format!("round-{round}-claimant-{i}");
        let key = WorkerKey::generate().expect("a key");
        let csr = key.request(Some(&NodeName::new(&name).expect("a name"))).expect("a request");
        let body = json!({"token": token, "node_name": name, "csr": csr});
        let (claimant, start) = (Arc::clone(claimant), Arc::clone(&start));
        calls.spawn(async move {
            start.wait().await;
            claimant.post("/v1/enroll", &body).await
        });
    }
    calls.join_all().await
}
