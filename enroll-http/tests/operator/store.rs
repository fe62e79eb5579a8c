//! What an operator is told when the store behind the master fails.

use enroll_core::model::Role;
use enroll_core::store::StoreErrorKind;
use enroll_core::testing::{Fault, Operation};
use http::Method;
use serde_json::json;

use crate::support::{Answer, Master};

/// Trouble of the master's own, which says nothing of its cause.
#[track_caller]
fn assert_unavailable(answer: Answer) {
    let answer = answer.is(503);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.json["reason"], "unavailable");
    assert!(!answer.text.contains("what a test has fail"), "{}", answer.text);
}

#[tokio::test]
async fn a_store_that_cannot_say_who_calls_lets_nobody_in_and_calls_nobody_a_stranger() {
    let master = Master::start().await;
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Broken] {
        for role in Role::ALL {
            master.store.script(Operation::Admin, [Fault::Before(kind)]);
            let answer =
                master.ask(Method::POST, "/v1/tokens", Some(master.token(*role)), "{}").await;
            assert_unavailable(answer);
        }
    }
    assert_eq!(master.get("/v1/tokens").await.is(200).json["items"], json!([]));
}

#[tokio::test]
async fn every_call_tells_trouble_of_the_master_from_a_refusal() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let id = master.get("/v1/tokens").await.is(200).column("id").remove(0);
    let body = r#"{"name":"other","role":"viewer","kind":"ping"}"#;
    for (operation, method, path) in [
        (Operation::Mint, Method::POST, "/v1/tokens"),
        (Operation::Tokens, Method::GET, "/v1/tokens"),
        (Operation::Revoke, Method::DELETE, "/v1/tokens/{id}"),
        (Operation::Redemptions, Method::GET, "/v1/tokens/{id}/redemptions"),
        (Operation::Mint, Method::POST, "/v1/nodes"),
        (Operation::Mint, Method::POST, "/v1/nodes/worker-1/token"),
        (Operation::Nodes, Method::GET, "/v1/nodes"),
        (Operation::Node, Method::GET, "/v1/nodes/worker-1"),
        (Operation::Attempts, Method::GET, "/v1/nodes/worker-1/attempts"),
        (Operation::SetCordon, Method::POST, "/v1/nodes/worker-1/cordon"),
        (Operation::Transition, Method::POST, "/v1/nodes/worker-1/fuse"),
        (Operation::QueueCommand, Method::POST, "/v1/nodes/worker-1/commands"),
        (Operation::Commands, Method::GET, "/v1/nodes/worker-1/commands"),
        (Operation::DeleteNode, Method::DELETE, "/v1/nodes/worker-1"),
        (Operation::Setting, Method::GET, "/v1/settings/auto-enrollment"),
        (Operation::PutSetting, Method::PUT, "/v1/settings/auto-enrollment"),
        (Operation::InsertAdmin, Method::POST, "/v1/admins"),
        (Operation::Admins, Method::GET, "/v1/admins"),
        (Operation::RemoveAdmin, Method::DELETE, "/v1/admins/viewer"),
        (Operation::Events, Method::GET, "/v1/events"),
        (Operation::Fence, Method::GET, "/v1/fence"),
        (Operation::Fence, Method::POST, "/v1/fence/acknowledge"),
    ] {
        master.store.script(operation, [Fault::Before(StoreErrorKind::Unavailable)]);
        let (path, admin) = (path.replace("{id}", &id), Some(master.token(Role::Admin)));
        assert_unavailable(master.ask(method.clone(), &path, admin, body).await);
        // The same call, once the store is back.
        let answer = master.ask(method.clone(), &path, admin, body).await;
        assert!(answer.status.is_success() || answer.status == 409, "{method} {path}: {answer:?}");
    }
}
