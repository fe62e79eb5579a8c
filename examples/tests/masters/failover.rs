//! A failover, as an operator meets it.

use enroll_store_postgres::testing::{Setup, Stop, fresh_url, started};
use serde_json::{Value, json};

use crate::harness::{Machine, Master, in_time};

#[tokio::test]
async fn a_failover_is_told_to_operators_who_acknowledge_it() {
    let primary = started(Setup::default());
    let url = fresh_url(&primary);
    let master = Master::start(&["--store", &url]);
    let never = master.json(&["fence", "show"]);
    assert_eq!(never["raised"], false);
    let said = master.cli(&["fence", "acknowledge"]);
    assert!(said.code == 1 && said.err.contains("never promoted"), "{said:?}");
    let token = master.mint(json!({"max_uses": 1})).await;

    let standby = primary.standby().expect("a standby");
    primary.stop(Stop::Fast).expect("it stops");
    standby.promote().expect("it is promoted");
    let there = url.replace(&primary.url(), &standby.url());
    let (_, home) = master.stop();
    let master = home.start(&["--store", &there]);

    let said = master.cli(&["fence", "show"]);
    for word in ["promoted or restored", "void", "fence acknowledge"] {
        assert!(said.out.contains(word), "{word}: {said:?}");
    }
    in_time("a warning", async || master.log().contains("promoted or restored").then_some(()))
        .await;
    let doctor = master.cli(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("WRONG  fence"), "{doctor:?}");
    let text = token["token"].as_str().expect("a token");
    let said = Machine::new().bootstrap(&master, text, &["--node-name", "worker-1"]);
    assert!(said.code == 3 && said.err.contains("revoked"), "{said:?}");
    // A token that the fence voided is revoked, for who revokes it too.
    let path = format!("/v1/tokens/{}", token["id"].as_str().expect("an id"));
    assert_eq!(master.api().delete(&path).await.status, 204);

    let known = master.json(&["fence", "acknowledge", "--epoch", "2"]);
    assert!(known["acknowledged_at"].is_string(), "{known}");
    assert_eq!(master.json(&["fence", "acknowledge"]), known, "once is enough");
    let doctor = master.cli(&["doctor"]);
    assert!(doctor.out.contains("ok     fence"), "{doctor:?}");
    let events = master.json(&["events", "--all"]);
    let of = |kind: &str| {
        let items = events["items"].as_array().expect("a list");
        items.iter().filter(|event| event["type"] == kind).cloned().collect::<Vec<Value>>()
    };
    assert_eq!((of("fence_raised").len(), of("fence_acknowledged").len()), (1, 1));
    assert_eq!(of("fence_acknowledged")[0]["actor"], "admin");
    // What is minted now is good.
    let token = master.mint(json!({"max_uses": 1})).await;
    let text = token["token"].as_str().expect("a token");
    let said = Machine::new().bootstrap(&master, text, &["--node-name", "worker-1"]);
    assert_eq!(said.code, 0, "{said:?}");
}
