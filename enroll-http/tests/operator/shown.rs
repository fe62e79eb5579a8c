//! What is shown once is shown nowhere else.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use enroll_core::model::Role;
use http::Method;
use serde_json::json;
use sha2::Digest as _;

use crate::support::Master;

/// Everything a secret could be known by.
fn traces(secret: &str) -> Vec<String> {
    let digest = sha2::Sha256::digest(secret.as_bytes());
    let tail = &secret[secret.len() - 40..];
    vec![
        tail.to_owned(),
        HEXLOWER.encode(&digest),
        BASE64.encode(&digest),
        BASE64URL_NOPAD.encode(&digest),
        format!("{:?}", digest.as_slice()),
    ]
}

#[tokio::test]
async fn no_answer_but_the_first_holds_a_secret_or_what_is_made_of_it() {
    let master = Master::start().await;
    let fleet = master.post("/v1/tokens", json!({ "description": "fleet" })).await.is(201).json;
    let fleet_id = fleet["id"].as_str().unwrap();
    drop(master.present(fleet["token"].as_str().unwrap(), "worker-1").await);
    drop(master.present(&fleet["token"].as_str().unwrap().replace('a', "b"), "worker-1").await);
    let bound = master.post("/v1/nodes", json!({ "name": "worker-2" })).await.is(201).json;
    let added = master.post("/v1/admins", json!({ "name": "ann", "role": "viewer" })).await;
    let added = added.is(201).json;
    master.enroller.flush().await;

    let mut secrets = vec![fleet["token"].as_str().unwrap(), bound["token"].as_str().unwrap()];
    secrets.push(added["token"].as_str().unwrap());
    secrets.extend(Role::ALL.iter().map(|role| master.token(*role)));
    let traces: Vec<_> = secrets.iter().flat_map(|secret| traces(secret)).collect();

    let lists = [
        "/v1/tokens?include_expired=true".to_owned(),
        format!("/v1/tokens/{fleet_id}/redemptions"),
        "/v1/nodes".to_owned(),
        "/v1/nodes/worker-1".to_owned(),
        "/v1/nodes/worker-2".to_owned(),
        "/v1/nodes/worker-1/attempts".to_owned(),
        "/v1/admins".to_owned(),
        "/v1/events?limit=500".to_owned(),
    ];
    for path in lists {
        let answer = master.get(&path).await.is(200);
        assert!(answer.text.len() > 2, "{path} has something to show");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        for trace in &traces {
            assert!(!answer.text.contains(trace.as_str()), "{path} shows {trace}");
        }
        let members = ["digest", "secret", "\"token\":"];
        assert!(members.iter().all(|word| !answer.text.contains(word)), "{path}: {}", answer.text);
    }
    // What can find a secret does find one.
    let again = master.post("/v1/nodes/worker-2/token", json!({})).await.is(201);
    let fresh = again.json["token"].as_str().unwrap();
    assert!(again.text.contains(&self::traces(fresh)[0]));
}

#[tokio::test]
async fn no_error_repeats_a_token_wherever_it_was_put() {
    let master = Master::start().await;
    let secret = master.token(Role::Viewer).to_owned();
    let admin = Some(master.token(Role::Admin));
    for (method, path, body) in [
        (Method::GET, format!("/v1/nodes/{secret}"), String::new()),
        (Method::DELETE, format!("/v1/tokens/{secret}"), String::new()),
        (Method::DELETE, format!("/v1/admins/{secret}"), String::new()),
        (Method::GET, format!("/v1/{secret}"), String::new()),
        (Method::GET, format!("/v1/nodes?status={secret}"), String::new()),
        (Method::GET, format!("/v1/tokens?cursor={secret}"), String::new()),
        (Method::POST, "/v1/tokens".into(), json!({ "max_uses": secret }).to_string()),
        (Method::POST, "/v1/tokens".into(), json!({ "node_name": secret }).to_string()),
        (Method::POST, "/v1/admins".into(), json!({ "name": "a", "role": secret }).to_string()),
        (Method::POST, "/v1/nodes".into(), secret.clone()),
    ] {
        let answer = master.ask(method, &path, admin, &body).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        assert!(!answer.text.contains(&secret[20..]), "{}", answer.text);
    }
}
