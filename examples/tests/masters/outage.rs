//! The database goes away under a running master, and comes back.

use enroll_store_postgres::testing::{Setup, Stop, fresh_url, started};
use serde_json::json;

use crate::harness::{Api, Master, in_time};

#[tokio::test]
async fn without_its_database_a_master_says_unavailable_and_recovers_by_itself() {
    let cluster = started(Setup::default());
    let url = fresh_url(&cluster);
    let args = ["--store", &url, "--issue", "api_key", "--attempts-per-minute", "0"];
    let master = Master::start(&args);
    let ca = std::fs::read_to_string(master.data().join("ca.crt")).expect("a root");
    let machine = Api::new(master.ready("enroll_url"), &ca, None);
    let token = master.mint(json!({"max_uses": 1})).await;
    let key = "A".repeat(32);
    let body = json!({"token": token["token"], "node_name": "a", "attempt_key": key});
    assert_eq!(machine.get("/readyz").await.status, 200);

    cluster.stop(Stop::Immediate).expect("it stops");
    let answer = machine.post("/v1/enroll", &body).await;
    assert_eq!((answer.status, answer.body["reason"].as_str()), (503, Some("unavailable")));
    let wait = answer.retry_after.as_deref().and_then(|text| text.parse::<u32>().ok());
    assert!(wait.is_some_and(|secs| secs > 0), "{answer:?}");
    let ready = in_time("not ready", async || {
        Some(machine.get("/readyz").await).filter(|answer| answer.status == 503)
    });
    assert_eq!(ready.await.body["ready"], false);
    assert_eq!(master.api().get("/v1/tokens").await.status, 503);
    assert_eq!(machine.get("/healthz").await.status, 200, "the process lives");
    let doctor = master.cli(&["doctor", "--output", "json"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");

    cluster.resume().expect("it starts");
    in_time("ready", async || (machine.get("/readyz").await.status == 200).then_some(())).await;
    let answer = machine.post("/v1/enroll", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["redelivered"], false, "nothing was spent meanwhile");
    assert_eq!(master.uses(&token["id"]).await, (1, 1));
}
