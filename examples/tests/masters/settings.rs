//! What an operator changes at one master holds at all.

use enroll_store_postgres::testing::{fresh_url, shared};
use serde_json::json;

use crate::harness::{Api, Home, Master, in_time};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Asks to be let in by the enrollment secret; the status and the reason.
async fn knock(master: &Master, name: &str, secret: &str) -> (u16, String) {
    let ca = std::fs::read_to_string(master.data().join("ca.crt")).expect("a root");
    let body = json!({"shared_secret": secret, "node_name": name, "attempt_key": "A".repeat(32)});
    let answer = Api::new(master.ready("enroll_url"), &ca, None).post("/v1/enroll", &body).await;
    (answer.status, answer.body["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn c1_d3_auto_enrollment_is_switched_for_all_masters() {
    let url = fresh_url(shared());
    let args = ["--store", &url, "--issue", "api_key", "--attempts-per-minute", "0"];
    let first = Master::start(&args);
    let second = Home::of_the_fleet_of(&first).start(&args);
    assert_eq!(knock(&second, "a", SECRET).await, (403, "enrollment_disabled".into()));

    let path = "/v1/settings/auto-enrollment";
    let change = first.api().put(path, &json!({"enabled": true, "secret": SECRET})).await;
    assert_eq!(change.status, 200, "{change:?}");
    in_time("the switch", async || (knock(&second, "a", SECRET).await.0 == 200).then_some(()))
        .await;

    let other = SECRET.to_uppercase();
    let change = first.api().put(path, &json!({"secret": other})).await;
    assert_eq!(change.status, 200, "{change:?}");
    let refused = (401, "bad_secret".to_owned());
    in_time("the rotation", async || (knock(&second, "b", SECRET).await == refused).then_some(()))
        .await;
    assert_eq!(knock(&second, "b", &other).await.0, 200);

    assert_eq!(second.api().put(path, &json!({"enabled": false})).await.status, 200);
    let refused = (403, "enrollment_disabled".to_owned());
    in_time("the switch", async || (knock(&first, "c", &other).await == refused).then_some(()))
        .await;
}
