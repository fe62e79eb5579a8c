//! What the fuser makes of each answer Portainer can give.

use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::x509::Authority;
use enroll_core::master::{Enroller, FuseCommands, FuseProgress, Fuser as _, RegisterRequest};
use enroll_core::model::{
    Clock as _, FuseFailure, FuseId, FuseRecord, Host, NodeName, NodeRecord, SystemClock,
    SystemEntropy, TrustDomain,
};
use enroll_core::store::{Commands as _, MemoryStore, Store};
use enroll_http::integrations::portainer::{PortainerClient, PortainerFuser, PortainerOptions};
use enroll_http::tls::{CertSlot, ServerTls, TlsIdentity, WebRoots};
use enroll_http::wire::SecretText;

use crate::stub::{API_KEY, EDGE_SECRET, Fault, Portainer, VERSION};

/// A fuser before a Portainer, and a node for it.
struct Scene {
    portainer: Portainer,
    fuser: PortainerFuser,
    store: Arc<MemoryStore>,
    node: NodeRecord,
    attempt: FuseId,
}

impl Scene {
    async fn new() -> Self {
        let portainer = Portainer::start().await;
        let options = PortainerOptions::new(portainer.url()).danger_allow_plaintext();
        Self::with(portainer, options, API_KEY).await
    }

    async fn with(portainer: Portainer, options: PortainerOptions, key: &str) -> Self {
        let store = Arc::new(MemoryStore::new());
        let enroller = Enroller::with_issuers(Arc::clone(&store) as Arc<dyn Store>, vec![]);
        let name = NodeName::new("worker-1").expect("a name");
        let made = enroller.register(RegisterRequest::new(name), "admin").await;
        let node = made.expect("a node").node;
        // A test waits for no answer longer than it has to.
        let options = options.with_request_timeout(Duration::from_millis(700));
        let client = PortainerClient::new(&options, &SecretText::new(key)).expect("a client");
        let clock = Arc::new(SystemClock::new());
        let commands = FuseCommands::new(Arc::clone(&store) as Arc<dyn Store>, clock);
        let fuser = PortainerFuser::new(client, commands);
        let (at, entropy) = (SystemClock::new().now(), SystemEntropy::new());
        let attempt = FuseId::generate(at, &entropy).expect("randomness");
        Self { portainer, fuser, store, node, attempt }
    }

    async fn begin(&self) -> Result<String, FuseFailure> {
        self.fuser.begin(&self.node, self.attempt).await
    }

    fn fuse(&self, ticket: Option<&str>) -> FuseRecord {
        let at = SystemClock::new().now();
        FuseRecord {
            attempt: self.attempt,
            started_at: at,
            deadline: at.after(Duration::from_secs(60)),
            ticket: ticket.map(str::to_owned),
            ended: None,
        }
    }

    async fn poll(&self) -> Result<FuseProgress, FuseFailure> {
        self.fuser.poll(&self.node, &self.fuse(Some("1"))).await
    }

    /// That there is one endpoint, this attempt's.
    fn has_its_endpoint(&self) {
        let endpoints = self.portainer.endpoints();
        assert_eq!(endpoints.len(), 1, "{endpoints:?}");
        let name = endpoints[0]["Name"].as_str().expect("a name");
        assert!(name.starts_with("worker-1-") && name.ends_with(&self.attempt.to_string()));
    }
}

#[track_caller]
fn troubled<T: std::fmt::Debug>(ended: Result<T, FuseFailure>, word: &str) {
    let failure = ended.expect_err("it fails");
    assert_eq!(failure.source, "portainer_error");
    assert!(failure.detail.contains(word), "{}", failure.detail);
    assert!(!failure.detail.contains(API_KEY), "{}", failure.detail);
}

#[tokio::test]
async fn one_attempt_makes_one_endpoint_and_asks_its_worker_once() {
    let scene = Scene::new().await;
    assert_eq!(scene.begin().await.as_deref(), Ok("1"));
    assert_eq!(scene.begin().await.as_deref(), Ok("1"), "begun again, on another master");
    scene.has_its_endpoint();
    assert_eq!(scene.portainer.urls(), [scene.portainer.url()]);
    let commands = scene.store.open_commands(scene.node.id, 10).await.expect("the commands");
    assert_eq!(commands.len(), 1);
    assert_eq!((&*commands[0].kind, &commands[0].payload["endpoint_id"]), ("fuse", &1.into()));
    assert!(!format!("{commands:?}").contains(EDGE_SECRET));
}

#[tokio::test]
async fn an_answer_that_was_lost_or_denied_is_looked_for_and_nothing_is_made_twice() {
    for fault in [Fault::Lost, Fault::DoneAnd(500), Fault::DoneAnd(504)] {
        let scene = Scene::new().await;
        scene.portainer.fail("create", fault, 1);
        assert_eq!(scene.begin().await.as_deref(), Ok("1"), "{fault:?}");
        scene.has_its_endpoint();
    }
    // Another call of this attempt made it between the look and the creation: 409.
    let scene = Scene::new().await;
    assert_eq!(scene.begin().await.as_deref(), Ok("1"));
    scene.portainer.fail("list", Fault::Blind, 1);
    assert_eq!(scene.begin().await.as_deref(), Ok("1"));
    scene.has_its_endpoint();
    assert_eq!(scene.portainer.calls(), ["list", "create", "list", "create", "list"]);
}

#[tokio::test]
async fn what_goes_wrong_at_the_beginning_is_said_in_words_of_our_own() {
    let away = Portainer::start().await;
    let options = PortainerOptions::new(away.url()).danger_allow_plaintext();
    troubled(Scene::with(away, options, "ptr_old").await.begin().await, "API key");

    let local = Portainer::start().await;
    let options = PortainerOptions::new(local.url()).danger_allow_plaintext();
    let options = options.with_agents_url("https://localhost:9443");
    let scene = Scene::with(local, options, API_KEY).await;
    troubled(scene.begin().await, "localhost");
    assert_eq!(scene.portainer.calls(), ["list", "create"], "a 400 is final");

    for (call, fault, word) in [
        ("list", Fault::Refused(401), "401"),
        ("list", Fault::Refused(503), "503"),
        ("list", Fault::Lost, "took too long"),
        ("create", Fault::Refused(403), "administrator"),
        ("create", Fault::Refused(500), "500"),
        ("create", Fault::Refused(302), "redirects"),
    ] {
        let scene = Scene::new().await;
        scene.portainer.fail(call, fault, 1);
        troubled(scene.begin().await, word);
        assert!(scene.portainer.endpoints().is_empty(), "{call} {fault:?}");
    }

    let nobody = Portainer::start().await;
    let options = PortainerOptions::new("http://127.0.0.1:1").danger_allow_plaintext();
    troubled(Scene::with(nobody, options, API_KEY).await.begin().await, "cannot be reached");
}

#[tokio::test]
async fn an_environment_of_somebody_else_is_neither_taken_nor_deleted() {
    let scene = Scene::new().await;
    scene.portainer.add(&format!("worker-1-{}", scene.attempt), 1);
    troubled(scene.begin().await, "another kind");
    troubled(scene.fuser.abort(&scene.node, &scene.fuse(None)).await, "another kind");
    assert_eq!(scene.portainer.endpoints().len(), 1);
}

#[tokio::test]
async fn trouble_that_may_pass_is_waited_out_and_other_trouble_is_not() {
    let scene = Scene::new().await;
    scene.begin().await.expect("it begins");
    assert_eq!(scene.poll().await, Ok(FuseProgress::Pending));
    let passing = [Fault::Refused(500), Fault::Refused(503), Fault::Refused(429), Fault::Lost];
    for fault in passing {
        scene.portainer.fail("get", fault, 1);
        assert_eq!(scene.poll().await, Ok(FuseProgress::Pending), "{fault:?}");
    }
    for status in [401, 403] {
        scene.portainer.fail("get", Fault::Refused(status), 1);
        troubled(scene.poll().await, &status.to_string());
    }
    scene.portainer.check_in();
    assert_eq!(scene.poll().await, Ok(FuseProgress::Done));
    scene.portainer.clear();
    troubled(scene.poll().await, "404");
}

#[tokio::test]
async fn the_edge_key_is_fetched_anew_for_each_answer() {
    let scene = Scene::new().await;
    scene.begin().await.expect("it begins");
    let fuse = scene.fuse(Some("1"));
    let given = scene.fuser.hand_over(&scene.node, &fuse).await.expect("it is handed over");
    let expected = [
        ("agent_version", VERSION.to_owned()),
        ("edge_id", scene.attempt.to_string()),
        ("edge_key", format!("{EDGE_SECRET}1")),
        ("insecure_poll", "0".to_owned()),
    ];
    let all = given.expose_all().map(|(name, value)| (name, value.to_owned()));
    assert_eq!(all.collect::<Vec<_>>(), expected);
    let shown = format!("{given:?} {:?}", scene.fuser);
    assert!(!shown.contains(EDGE_SECRET) && !shown.contains(API_KEY), "{shown}");
    for call in ["get", "status"] {
        scene.portainer.fail(call, Fault::Refused(500), 1);
        troubled(scene.fuser.hand_over(&scene.node, &fuse).await, "500");
    }
}

#[tokio::test]
async fn undoing_finds_the_endpoint_by_its_id_or_else_by_its_name() {
    for known in [true, false] {
        let scene = Scene::new().await;
        let ticket = scene.begin().await.expect("it begins");
        let fuse = scene.fuse(known.then_some(&*ticket));
        scene.portainer.fail("delete", Fault::Refused(500), 1);
        troubled(scene.fuser.abort(&scene.node, &fuse).await, "500");
        for _ in 0..2 {
            assert_eq!(scene.fuser.abort(&scene.node, &fuse).await, Ok(()), "or again");
            assert!(scene.portainer.endpoints().is_empty());
        }
        let open = scene.store.open_commands(scene.node.id, 10).await.expect("the commands");
        assert!(open.is_empty(), "its worker is not asked any more");
    }
}

#[tokio::test]
async fn its_certificate_has_to_be_of_a_known_authority_and_for_its_host() {
    let (at, entropy) = (SystemClock::new().now(), SystemEntropy::new());
    let authority = || Authority::in_memory(&TrustDomain::default(), at, &entropy).expect("one");
    let (own, other) = (authority(), authority());
    for (host, root, word) in [
        ("127.0.0.1", &own, None),
        ("127.0.0.1", &other, Some("certificate")),
        ("portainer.example", &own, Some("certificate")),
    ] {
        let host = Host::new(host).expect("a host");
        let leaf = own.issue_master(&[host], at, &entropy).expect("a certificate");
        let identity = TlsIdentity::of_master(&leaf).expect("an identity");
        let tls = ServerTls::new(Arc::new(CertSlot::new(identity))).config();
        let portainer = Portainer::start_tls(tls.expect("a configuration")).await;
        let roots = WebRoots::Pem(root.root_pem().to_owned());
        let options = PortainerOptions::new(portainer.url()).with_roots(roots);
        let scene = Scene::with(portainer, options, API_KEY).await;
        match word {
            None => assert_eq!(scene.begin().await.as_deref(), Ok("1")),
            Some(word) => {
                troubled(scene.begin().await, word);
                assert!(scene.portainer.calls().is_empty(), "no key went out");
            }
        }
    }
}
