//! Minting, listing, revoking.

use enroll_core::model::{Invitation, Reason, TokenPrefix};
use http::Method;
use serde_json::json;

use crate::support::{FROM, Master, URL, members, refused};

#[tokio::test]
async fn a_minted_token_comes_with_all_that_goes_with_it_and_works() {
    let master = Master::start().await;
    let answer = master.post("/v1/tokens", json!({ "unknown": [1] })).await.is(201);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let minted = &answer.json;
    assert_eq!(
        members(minted),
        [
            "ca_fingerprint",
            "expires_at",
            "id",
            "invitation",
            "max_uses",
            "node_name",
            "token",
            "ttl_secs"
        ]
    );
    assert_eq!((&minted["ttl_secs"], &minted["max_uses"]), (&json!(3600), &json!(0)));
    assert_eq!(minted["node_name"], json!(null));
    assert_eq!(minted["ca_fingerprint"], json!(master.authority.fingerprint().to_string()));
    let (id, text) = (minted["id"].as_str().unwrap(), minted["token"].as_str().unwrap());
    assert_eq!(text.split('_').nth(1), Some(id));
    let invitation = minted["invitation"].as_str().unwrap();
    let invitation = Invitation::parse(&TokenPrefix::default(), invitation).unwrap();
    assert_eq!((&*invitation.url, invitation.token.expose()), (URL, text));
    for name in ["worker-1", "worker-2"] {
        assert!(format!("{:?}", master.present(text, name).await).contains(name));
    }
    let listed = master.get("/v1/tokens").await.is(200);
    assert_eq!(listed.json["items"][0]["uses"], 2);
    assert_eq!(listed.json["items"][0]["created_by"], "admin");
}

#[tokio::test]
async fn every_member_of_the_wish_may_be_absent_even_the_body() {
    let master = Master::start().await;
    let admin = Some(master.token(enroll_core::model::Role::Admin));
    for body in ["", "{}", r#"{"ttl_secs":null,"max_uses":null,"node_name":null}"#] {
        let minted = master.ask(Method::POST, "/v1/tokens", admin, body).await.is(201);
        assert_eq!(minted.json["ttl_secs"], 3600, "{body}");
    }
}

#[tokio::test]
async fn times_are_clamped_and_a_bound_token_is_one_shot() {
    let master = Master::start().await;
    for (wish, given) in
        [(0, 60), (59, 60), (60, 60), (86_400, 86_400), (86_401, 86_400), (u64::MAX, 86_400)]
    {
        let minted = master.post("/v1/tokens", json!({ "ttl_secs": wish })).await.is(201);
        assert_eq!(minted.json["ttl_secs"], given, "{wish}");
    }
    let bound = json!({ "node_name": "worker-1", "max_uses": 9, "description": "rack 7" });
    let minted = master.post("/v1/tokens", bound).await.is(201);
    assert_eq!(
        (&minted.json["max_uses"], &minted.json["node_name"]),
        (&json!(1), &json!("worker-1"))
    );
    let node = master.get("/v1/nodes/worker-1").await.is(200);
    assert_eq!(node.json["state"], "pending");
    let listed = master.get("/v1/tokens?limit=1").await.is(200);
    assert_eq!(listed.json["items"][0]["description"], "rack 7");
}

#[tokio::test]
async fn what_makes_no_sense_is_named_and_never_repeated() {
    let master = Master::start().await;
    let admin = Some(master.token(enroll_core::model::Role::Admin));
    for (body, named) in [
        ("s3cret", "not JSON"),
        ("[]", "not a JSON object"),
        (r#"{"max_uses":1,"max_uses":2}"#, "twice"),
        (r#"{"max_uses":-1}"#, "`max_uses` must be a whole number from 0"),
        (r#"{"max_uses":4294967296}"#, "`max_uses` must be a whole number from 0"),
        (r#"{"max_uses":"s3cret"}"#, "`max_uses` must be a whole number from 0"),
        (r#"{"ttl_secs":-1}"#, "`ttl_secs` must be a whole number of seconds"),
        (r#"{"ttl_secs":1.5}"#, "`ttl_secs` must be a whole number of seconds"),
        (r#"{"ttl_secs":"10m"}"#, "`ttl_secs` must be a whole number of seconds"),
        (r#"{"node_name":7}"#, "`node_name` must be a text"),
        (r#"{"node_name":"s3cret!"}"#, "only lower-case letters"),
        (r#"{"node_name":""}"#, "cannot be empty"),
        (r#"{"node_name":"01890a5d-ac96-774b-bcce-b302099a8057"}"#, "shape of a UUID"),
        (r#"{"node_name":"master.example"}"#, "an address of the master itself"),
    ] {
        let answer = master.ask(Method::POST, "/v1/tokens", admin, body).await;
        let answer = answer.error(400, "validation_failed");
        assert!(answer.detail().contains(named), "{body}: {}", answer.detail());
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    }
    let long = json!({ "description": "x".repeat(1025) });
    master.post("/v1/tokens", long).await.error(400, "validation_failed");
    let huge = format!(r#"{{"description":"{}"}}"#, "x".repeat(64 * 1024));
    let answer = master.ask(Method::POST, "/v1/tokens", admin, &huge).await;
    assert!(answer.error(400, "validation_failed").detail().contains("65536 bytes"));
    assert_eq!(master.get("/v1/tokens").await.json["items"], json!([]), "nothing was minted");
}

#[tokio::test]
async fn b3_revoking_says_204_again_and_409_once_it_is_over() {
    let master = Master::start().await;
    let mint = async |body| {
        let minted = master.post("/v1/tokens", body).await.is(201).json;
        let id = minted["id"].as_str().unwrap();
        (format!("/v1/tokens/{id}"), minted["token"].as_str().unwrap().to_owned())
    };
    let (path, text) = mint(json!({})).await;
    let answer = master.delete(&path).await.is(204);
    assert_eq!(answer.text, "");
    master.delete(&path).await.is(204);
    assert_eq!(refused(master.present(&text, "worker-1").await), Reason::Revoked);
    master.pass(2 * 3600);
    master.delete(&path).await.is(204);

    let (replaced, _) = mint(json!({ "node_name": "worker-2" })).await;
    mint(json!({ "node_name": "worker-2" })).await;
    master.delete(&replaced).await.is(204);

    let (expired, _) = mint(json!({ "ttl_secs": 60 })).await;
    master.pass(61);
    let answer = master.delete(&expired).await.error(409, "conflict");
    assert!(answer.detail().contains("expired"), "{}", answer.detail());

    for (uses, word) in [(1, "consumed"), (2, "exhausted")] {
        let (spent, text) = mint(json!({ "max_uses": uses })).await;
        for use_ in 0..uses {
            let name = format!("{word}-{use_}");
            assert!(format!("{:?}", master.present(&text, &name).await).contains(&name));
        }
        let answer = master.delete(&spent).await.error(409, "conflict");
        assert!(answer.detail().contains(word), "{}", answer.detail());
    }
    for unknown in ["000000000000", "nonsense", "zzzzzzzzzzzz", "%00", "a%2Fb"] {
        let path = format!("/v1/tokens/{unknown}");
        master.delete(&path).await.error(404, "not_found");
        master.get(&format!("{path}/redemptions")).await.error(404, "not_found");
    }
}

#[tokio::test]
async fn b3_expired_tokens_are_listed_only_on_request_with_their_status() {
    let master = Master::start().await;
    for ttl in [60, 600] {
        master.post("/v1/tokens", json!({ "ttl_secs": ttl })).await.is(201);
    }
    master.pass(61);
    let status = async |query: &str| {
        master.get(&format!("/v1/tokens{query}")).await.is(200).column("status")
    };
    assert_eq!(status("").await, ["active"]);
    assert_eq!(status("?include_expired=false").await, ["active"]);
    assert_eq!(status("?include_expired=true").await, ["active", "expired"]);
    for bad in ["1", "yes", "", "TRUE"] {
        let path = format!("/v1/tokens?include_expired={bad}");
        master.get(&path).await.error(400, "validation_failed");
    }
}

#[tokio::test]
async fn b3_redemptions_say_who_when_and_from_where() {
    let master = Master::start().await;
    let minted = master.post("/v1/tokens", json!({})).await.is(201).json;
    let text = minted["token"].as_str().unwrap();
    for name in ["worker-1", "worker-2"] {
        drop(master.present(text, name).await);
        master.pass(1);
    }
    let path = format!("/v1/tokens/{}/redemptions", minted["id"].as_str().unwrap());
    let answer = master.get(&path).await.is(200);
    assert_eq!(answer.column("node_name"), ["worker-2", "worker-1"], "newest first");
    let row = &answer.json["items"][0];
    assert_eq!(members(row), ["at", "id", "key_fingerprint", "node_id", "node_name", "source_ip"]);
    assert_eq!(row["source_ip"], FROM.to_string());
    let fingerprint = row["key_fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("sha256:") && fingerprint.len() == 71);
    let node = master.get("/v1/nodes/worker-2").await.is(200).json;
    assert_eq!(row["node_id"], node["id"]);
}
