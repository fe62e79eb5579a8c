//! Everything an embedder may name, issue and watch by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use enroll_core::issue::{Grant, IssueError, Issued, Issuer};
use enroll_core::master::{MintRequest, Observer};
use enroll_core::model::{
    Credential, CredentialKind, CredentialRecord, Event, JournalledEvent, MeshCredential, Method,
    Reason, TokenPrefix, What,
};
use enroll_core::store::Page;
use enroll_core::worker::{Environment, Proofs, StateDir, Worker};
use enroll_http::client::HttpMaster;
use serde_json::json;

use crate::built::{Built, Plan, name};
use crate::harness::PATIENCE;

const PATH: &str = "/nodes/join";
const CONTROL: &str = "https://mesh.example";

/// A mesh of the embedder's own.
struct Mesh(Mutex<Vec<String>>);

#[async_trait]
impl Issuer for Mesh {
    fn kind(&self) -> CredentialKind {
        CredentialKind::from_static("headscale")
    }

    fn needs_key(&self) -> bool {
        false
    }

    async fn issue(&self, grant: &Grant<'_>) -> Result<Issued, IssueError> {
        let expires_at = grant.at.after(Duration::from_secs(600));
        Ok(Issued {
            credential: Credential::Mesh(MeshCredential {
                kind: self.kind(),
                authkey: "mesh-key-of-a-test".to_owned().into(),
                control_url: CONTROL.to_owned(),
                expires_at,
            }),
            record: CredentialRecord::External { kind: self.kind(), external_id: "7".to_owned() },
            expires_at: Some(expires_at),
        })
    }

    fn again(&self, _: &CredentialRecord) -> Option<Credential> {
        None
    }

    async fn undo(&self, record: &CredentialRecord) -> Result<(), IssueError> {
        let CredentialRecord::External { external_id, .. } = record else { return Ok(()) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(external_id.clone());
        Ok(())
    }
}

/// What happened, in order.
#[derive(Default)]
struct Seen(Mutex<Vec<What>>);

impl Observer for Seen {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.what.clone());
    }

    fn answered(&self, _: Result<Method, Reason>, _: Duration) {}
}

impl Seen {
    fn has(&self, wanted: impl Fn(&What) -> bool) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(wanted)
    }
}

async fn acme(seen: &Arc<Seen>) -> Built {
    let (prefix, seen) = (TokenPrefix::new("acme_join").expect("a prefix"), Arc::clone(seen));
    Built::start(Plan {
        x509: true,
        issuers: vec![Arc::new(Mesh(Mutex::default()))],
        path: PATH,
        with: Box::new(move |it| it.with_token_prefix(prefix).with_observer(seen)),
        ..Plan::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_the_answer_carries_the_mesh_key_and_where_to_go_from_here() {
    let master = acme(&Arc::default()).await;
    let token = master.mint(MintRequest::new().with_max_uses(1)).await;
    let call = json!({"token": token.expose(), "node_name": "worker-1", "csr": "none"});
    assert_eq!(master.api().post(PATH, &call).await.body["reason"], "bad_csr");
    let keyless =
        Built::start(Plan { issuers: vec![Arc::new(Mesh(Mutex::default()))], ..Plan::default() })
            .await;
    let token = keyless.mint(MintRequest::new().with_max_uses(1)).await;
    let call = json!({"token": token.expose(), "node_name": "worker-1"});
    let answer = keyless.api().post("/v1/enroll", &call).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let [mesh] = &answer.body["credentials"].as_array().expect("a list")[..] else {
        panic!("one credential: {answer:?}")
    };
    assert_eq!((&mesh["kind"], &mesh["control_url"]), (&json!("headscale"), &json!(CONTROL)));
    assert_eq!(mesh["authkey"], "mesh-key-of-a-test");
    let config = keyless.enroller.config();
    assert_eq!(answer.body["master_addr"].as_str(), config.steady_addr.as_deref());
    let node = keyless.enroller.node(&name("worker-1")).await.expect("the node");
    assert_eq!(answer.body["node_id"], node.id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_lost_answer_is_given_again_which_is_an_event_of_its_own() {
    let master = Built::start(Plan::default()).await;
    let token = master.mint(MintRequest::new().with_max_uses(1)).await;
    let key = "AAAAAAAAAAAAAAAAAAAAAA";
    let call = json!({"token": token.expose(), "node_name": "worker-1", "attempt_key": key});
    for redelivered in [false, true] {
        let answer = master.api().post("/v1/enroll", &call).await;
        assert_eq!((answer.status, &answer.body["redelivered"]), (200, &json!(redelivered)));
    }
    let events = master.enroller.events(Page::first(10)).await.expect("a page");
    let again = |event: &JournalledEvent| matches!(event.event.what, What::Redelivered { .. });
    assert_eq!(events.iter().filter(|event| again(event)).count(), 1, "{events:?}");
    assert_eq!(master.counted("enroll_redelivered_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_an_embedders_prefix_path_issuer_and_observer_make_its_own_fleet() {
    let seen = Arc::<Seen>::default();
    let master = acme(&seen).await;
    let token = master.mint(MintRequest::new().with_max_uses(1)).await;
    assert!(token.expose().starts_with("acme_join_"), "its own prefix");
    let lost = json!({"token": token.expose(), "node_name": "worker-1"});
    assert_eq!(master.api().post("/v1/enroll", &lost).await.status, 404, "its own path");

    let dir = tempfile::tempdir().expect("a directory");
    let client = HttpMaster::pinned(&master.url, master.authority.fingerprint());
    let client = client.expect("a URL").with_enroll_path(PATH);
    let worker = Worker::new(StateDir::open(dir.path().join("acme")).expect("made"), client)
        .with_node_name(name("worker-1"));
    worker.bootstrap(Proofs::token(token)).await.expect("a member");
    let node = master.enroller.node(&name("worker-1")).await.expect("the node");
    assert!(seen.has(|what| matches!(what, What::Enrolled { node_id, .. } if *node_id == node.id)));

    heard(&master, &worker).await;
    assert!(seen.has(|what| matches!(what, What::FirstHeartbeat { .. })));
}

/// Lets `worker` live until its master has heard it.
async fn heard(master: &Built, worker: &Worker) {
    let enroller = Arc::clone(&master.enroller);
    let until = async move {
        while enroller.node(&name("worker-1")).await.expect("the node").last_seen_at.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let lived = tokio::time::timeout(PATIENCE, worker.run(until)).await;
    lived.expect("a heartbeat in time").expect("it lives");
}

#[test]
fn a2_d7_an_embedder_names_the_variables_in_one_call() {
    let given = [("CONTEXTBAY_TOKEN", "t"), ("CONTEXTBAY_NODE_NAME", "worker-1")];
    let read = |name: &str| given.iter().find(|it| it.0 == name).map(|it| it.1.to_owned().into());
    let environment = Environment::read("CONTEXTBAY", read).expect("both are there");
    assert_eq!(environment.node_name.as_deref(), Some("worker-1"));
}
