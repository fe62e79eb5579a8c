//! Auto-enrollment: switched, rotated, never shown.

use enroll_core::model::Role;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Master, members};

const PATH: &str = "/v1/settings/auto-enrollment";
const FIRST: &str = "first-0123456789abcdef0123456789abcdef";
const SECOND: &str = "second-0123456789abcdef0123456789abcde";

async fn put(master: &Master, wish: Value) -> Answer {
    master.ask(Method::PUT, PATH, Some(master.token(Role::Admin)), &wish.to_string()).await
}

#[tokio::test]
async fn it_is_off_until_it_is_switched_on_with_a_secret() {
    let master = Master::start().await;
    let off = master.get(PATH).await.is(200).json;
    assert_eq!(
        off,
        json!({ "enabled": false, "secret_set_at": null, "previous_valid_until": null,
            "replace": false, "name_patterns": [] })
    );
    put(&master, json!({ "enabled": true })).await.error(400, "validation_failed");
    let on = put(&master, json!({ "enabled": true, "secret": FIRST })).await.is(200);
    assert_eq!((&on.json["enabled"], on.json["secret_set_at"].is_string()), (&json!(true), true));
    assert_eq!(on.headers["cache-control"], "no-store");
    assert_eq!(master.get(PATH).await.is(200).json, on.json);
}

#[tokio::test]
async fn what_is_absent_stays_and_a_rotation_may_have_a_grace() {
    let master = Master::start().await;
    let patterns = json!(["ingest-*"]);
    let wish = json!({ "enabled": true, "secret": FIRST, "name_patterns": patterns });
    let first = put(&master, wish).await.is(200).json;
    master.pass(10);
    let rotated = json!({ "secret": SECOND, "previous_valid_secs": 60, "replace": true });
    let second = put(&master, rotated).await.is(200).json;
    assert_eq!((&second["enabled"], &second["name_patterns"]), (&json!(true), &patterns));
    assert_eq!(second["replace"], true);
    assert_ne!(second["secret_set_at"], first["secret_set_at"]);
    assert!(second["previous_valid_until"].is_string());
    master.pass(61);
    assert_eq!(master.get(PATH).await.is(200).json["previous_valid_until"], Value::Null);
    let off = put(&master, json!({ "enabled": false, "secret": null })).await.is(200).json;
    assert_eq!((&off["enabled"], &off["replace"]), (&json!(false), &json!(true)));
    assert_eq!(off["secret_set_at"], second["secret_set_at"]);
}

#[tokio::test]
async fn a_wish_that_cannot_be_changes_nothing_and_no_answer_shows_a_secret() {
    let master = Master::start().await;
    put(&master, json!({ "enabled": true, "secret": FIRST })).await.is(200);
    let before = master.get(PATH).await.is(200).json;
    for (wish, named) in [
        (json!({ "secret": "s3cret" }), "fewer than 32 characters"),
        (json!({ "secret": "" }), "is empty"),
        (json!({ "secret": "s".repeat(40) }), "one character repeated"),
        (json!({ "secret": 5 }), "`secret` must be a text"),
        (json!({ "enabled": "yes" }), "`enabled` must be `true` or `false`"),
        (json!({ "previous_valid_secs": 60 }), "goes with a new `secret`"),
        (json!({ "secret": SECOND, "previous_valid_secs": 2_592_001 }), "at most 2592000"),
        (json!({ "secret": SECOND, "previous_valid_secs": -1 }), "`previous_valid_secs` must be"),
        (json!({ "name_patterns": "a" }), "`name_patterns` must be a list"),
        (json!({ "name_patterns": ["a", "B"] }), "a name pattern is"),
        (json!({ "name_patterns": vec!["a"; 65] }), "at most 64"),
    ] {
        let answer = put(&master, wish).await.error(400, "validation_failed");
        assert!(answer.detail().contains(named), "{}", answer.detail());
        assert!(!answer.text.contains("s3cret") && !answer.text.contains(SECOND));
    }
    assert_eq!(master.get(PATH).await.is(200).json, before);
    assert_eq!(members(&before).len(), 5);
    let events = master.get("/v1/events").await.is(200);
    assert!(events.column("type").contains(&"setting_changed".to_owned()));
    assert!(!events.text.contains(FIRST));
}
