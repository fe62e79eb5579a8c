//! Every call, under every role.

use std::collections::BTreeSet;

use enroll_core::model::{Role, SystemEntropy, TokenPrefix};
use enroll_core::store::Page;
use enroll_http::server::OPENAPI;
use http::Method;
use serde_json::Value;

use crate::support::Master;

/// The contract, written a second time: the least role of each call.
const CALLS: &str = "
    POST /v1/tokens admin
    GET /v1/tokens operator
    DELETE /v1/tokens/{id} admin
    GET /v1/tokens/{id}/redemptions operator
    POST /v1/nodes admin
    POST /v1/nodes/{name}/token admin
    GET /v1/nodes viewer
    GET /v1/nodes/{name} viewer
    GET /v1/nodes/{name}/attempts operator
    GET /v1/nodes/{name}/metrics operator
    POST /v1/nodes/{name}/cordon operator
    POST /v1/nodes/{name}/uncordon operator
    DELETE /v1/nodes/{name} admin
    POST /v1/nodes/{name}/fuse admin
    POST /v1/nodes/{name}/commands operator
    GET /v1/nodes/{name}/commands operator
    GET /v1/mesh/nodes operator
    GET /v1/settings/auto-enrollment admin
    PUT /v1/settings/auto-enrollment admin
    GET /v1/admins admin
    POST /v1/admins admin
    DELETE /v1/admins/{name} admin
    GET /v1/events operator
    GET /v1/fence operator
    POST /v1/fence/acknowledge admin
    GET /v1/diagnosis operator
    GET /v1/ca anyone
    GET /healthz anyone
    GET /readyz anyone
    GET /openapi.json anyone
";

/// A call, and the least role that may make it; none where anyone may.
type Call = (Method, &'static str, Option<Role>);

fn calls() -> Vec<Call> {
    let read = |line: &'static str| {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.parse().unwrap(), words.next()?);
        Some((method, path, words.next()?.parse().ok()))
    };
    CALLS.lines().filter_map(read).collect()
}

/// A path of one that is there.
fn path(pattern: &str, token_id: &str) -> String {
    let name = if pattern.starts_with("/v1/admins") { "developer" } else { "worker-1" };
    pattern.replace("{id}", token_id).replace("{name}", name)
}

/// A body that makes sense for each call that takes one.
const BODY: &str = r#"{"name":"other","role":"viewer","kind":"ping"}"#;

#[tokio::test]
async fn no_call_is_made_below_its_role_and_each_from_there_up() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let tokens = master.get("/v1/tokens").await.is(200);
    let token_id = tokens.column("id").remove(0);
    let before = master.enroller.events(Page::first(500)).await.unwrap().len();

    let strange =
        enroll_core::model::AdminToken::generate(&TokenPrefix::default(), &SystemEntropy::new());
    let strange = strange.unwrap();
    let (admin, machine) = (master.token(Role::Admin), "enroll_key_0");
    let cut = &admin[..admin.len() - 1];
    for (method, pattern, least) in calls() {
        let path = path(pattern, &token_id);
        for bearer in [None, Some(strange.expose()), Some(cut), Some(machine), Some("x y")] {
            let answer = master.ask(method.clone(), &path, bearer, BODY).await;
            if least.is_some() {
                let answer = answer.error(401, "unauthorized");
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            } else {
                answer.is(200);
            }
        }
        for role in Role::ALL.iter().filter(|role| least.is_some_and(|least| **role < least)) {
            let answer = master.ask(method.clone(), &path, Some(master.token(*role)), BODY).await;
            let answer = answer.error(403, "forbidden");
            assert!(answer.detail().contains(role.as_str()), "{}", answer.detail());
        }
    }
    let after = master.enroller.events(Page::first(500)).await.unwrap().len();
    assert_eq!(before, after, "whoever may not call has changed nothing");

    for (method, pattern, least) in calls() {
        for role in Role::ALL.iter().filter(|role| least.is_none_or(|least| **role >= least)) {
            // Only the role is judged here: what a call before this one deleted may be missing.
            let path = path(pattern, &token_id);
            let answer = master.ask(method.clone(), &path, Some(master.token(*role)), BODY).await;
            let let_in = [200, 201, 202, 204, 404, 409].contains(&answer.status.as_u16());
            assert!(let_in, "{role}: {method} {path}: {} {}", answer.status, answer.text);
        }
    }
}

#[tokio::test]
async fn who_may_not_call_learns_nothing_of_paths_parameters_and_bodies() {
    let master = Master::start().await;
    let viewer = Some(master.token(Role::Viewer));
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (method, path, body) in [
        (Method::POST, "/v1/tokens".to_owned(), "not JSON"),
        (Method::DELETE, "/v1/tokens/nonsense".to_owned(), ""),
        (Method::DELETE, format!("/v1/nodes/{id}?force=perhaps"), ""),
        (Method::GET, "/v1/events?limit=0&cursor=x".to_owned(), ""),
    ] {
        master.ask(method.clone(), &path, None, body).await.error(401, "unauthorized");
        master.ask(method, &path, viewer, body).await.error(403, "forbidden");
    }
}

#[tokio::test]
async fn a_removed_operator_is_nobody_at_once() {
    let master = Master::start().await;
    let operator = Some(master.token(Role::Operator));
    master.ask(Method::GET, "/v1/tokens", operator, "").await.is(200);
    master.delete("/v1/admins/operator").await.is(204);
    master.ask(Method::GET, "/v1/tokens", operator, "").await.error(401, "unauthorized");
}

#[test]
fn the_document_has_these_calls_with_these_roles_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"].as_array().unwrap().contains(&"operator".into()) {
                let role = operation["security"][0]["admin_token"][0].as_str().unwrap_or("anyone");
                documented.insert(format!("{} {path} {role}", method.to_uppercase()));
            }
        }
    }
    let contract = CALLS.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    assert_eq!(documented, contract.collect());
}
