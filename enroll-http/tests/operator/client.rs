//! The client of the command line, against the API over TLS.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::routing::get;
use enroll_core::issue::x509::RootCertificate;
use enroll_core::model::{AdminToken, Role, SystemEntropy};
use enroll_http::client::{ApiError, ClientError, NodeQuery, OperatorClient, PageQuery, all_pages};
use enroll_http::server::{OperatorOptions, operator_router};
use enroll_http::tls::{CertSlot, ServerTls, TlsIdentity, TlsRefusal};
use enroll_http::wire::{
    AutoEnrollmentWish, ErrorCode, NewCommand, NewNode, NewToken, SecretText, ShownNode,
};

use crate::common::{Ca, DOMAIN, Leaf, NODE, Running, Signed, soon};
use crate::support::Master;

/// The API of `master` over TLS, and a client of it with the token of `role`.
async fn connect(master: &Master, role: Role) -> (Running, OperatorClient) {
    let hosts = &master.enroller.config().hosts;
    let at = master.enroller.clock().now();
    let issued = master.authority.issue_master(hosts, at, &SystemEntropy::new()).unwrap();
    let identity = TlsIdentity::of_master(&issued).unwrap();
    let tls = ServerTls::new(Arc::new(CertSlot::new(identity))).config().unwrap();
    let router = operator_router(Arc::clone(&master.enroller), OperatorOptions::new());
    let running = Running::start(router, |listener| listener.with_tls(tls)).await;
    let token = AdminToken::presented(master.token(role).to_owned());
    let root = master.authority.root();
    let client = OperatorClient::new(&running.url("https", ""), token, root).unwrap();
    (running, client)
}

fn client_of(running: &Running, root: &RootCertificate) -> OperatorClient {
    let token = AdminToken::presented("enroll_admin_s3cret".into());
    OperatorClient::new(&running.url("https", ""), token, root).unwrap()
}

async fn serve(router: Router, identity: Signed) -> Running {
    let tls = ServerTls::new(identity.slot()).config().unwrap();
    Running::start(router, |listener| listener.with_tls(tls)).await
}

fn root(ca: &Ca) -> RootCertificate {
    RootCertificate::from_der(&ca.der).unwrap()
}

/// Every text an error has.
fn texts(error: &ApiError) -> String {
    let mut all = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        all += &format!(" {cause} {cause:?}");
        source = cause.source();
    }
    all
}

#[tokio::test]
async fn every_call_about_tokens_and_nodes_reaches_the_master() {
    let master = Master::start().await;
    let (_running, client) = connect(&master, Role::Admin).await;
    let wish = NewToken { max_uses: Some(3), ttl_secs: Some(600), ..NewToken::default() };
    let minted = client.mint_token(&wish).await.unwrap();
    assert_eq!((minted.max_uses, minted.ttl_secs), (3, 600));
    drop(master.present(minted.token.expose(), "worker-1").await);
    let id = minted.id.to_string();
    let uses = client.redemptions(&id, PageQuery::default()).await.unwrap();
    assert_eq!(uses.items[0].node_name.as_str(), "worker-1");
    client.revoke_token(&id).await.unwrap();
    let listed = client.tokens(false, PageQuery::default()).await.unwrap();
    assert_eq!(listed.items[0].status, "revoked");

    let wish = NewNode { name: "worker-2".into(), ..NewNode::default() };
    let registered = client.register_node(&wish).await.unwrap();
    assert_eq!(registered.node.state, "pending");
    let again = client.regenerate_token("worker-2").await.unwrap();
    assert_ne!(again.id, registered.id);
    assert!(again.install.unwrap().shell.expose().contains(again.token.expose()));
    let only = NodeQuery { state: Some("pending".into()), ..NodeQuery::default() };
    let pending = client.nodes(&only, PageQuery::default()).await.unwrap();
    assert!(
        matches!(&pending.items[..], [ShownNode::Full(node)] if node.name.as_str() == "worker-2")
    );
    let ShownNode::Full(node) = client.node("worker-1").await.unwrap() else { panic!("all of it") };
    assert_eq!(node.arch.as_deref(), Some("x86_64"));
    assert!(client.cordon_node("worker-1").await.unwrap().cordoned);
    assert!(!client.uncordon_node("worker-1").await.unwrap().cordoned);
    let attempts = client.attempts("worker-1", PageQuery::default()).await.unwrap();
    assert_eq!(attempts.items[0].outcome, "accepted");
    let ping = NewCommand { kind: "ping".into(), ..NewCommand::default() };
    let queued = client.queue_command("worker-1", &ping).await.unwrap();
    let commands = client.commands("worker-1", PageQuery::default()).await.unwrap();
    assert_eq!((commands.items[0].id, &*commands.items[0].status), (queued.id, "queued"));
    assert_eq!(client.fuse_node("worker-1").await.unwrap().state, "fusing");
    client.delete_node("worker-1", true).await.unwrap();
    let gone = client.node("worker-1").await.unwrap_err();
    assert_eq!(gone.problem().unwrap().code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn every_call_about_the_master_itself_reaches_it() {
    let master = Master::start().await;
    let (_running, client) = connect(&master, Role::Admin).await;
    assert_eq!(client.readiness().await.unwrap(), None);
    let added = client.add_admin("ann@ops", Role::Viewer).await.unwrap();
    assert_eq!((&*added.role, added.token.expose().is_empty()), ("viewer", false));
    let admins = client.admins(PageQuery::default()).await.unwrap();
    assert_eq!(admins.items.len(), Role::ALL.len() + 1);
    client.remove_admin("ann@ops").await.unwrap();
    let secret = SecretText::new("0123456789abcdef0123456789abcdef");
    let wish = AutoEnrollmentWish {
        enabled: Some(true),
        secret: Some(secret),
        ..AutoEnrollmentWish::default()
    };
    let auto = client.change_auto_enrollment(&wish).await.unwrap();
    assert_eq!((auto.enabled, client.auto_enrollment().await.unwrap()), (true, auto));
    let events = client.events(None, PageQuery::largest()).await.unwrap().items;
    let last = events.last().unwrap();
    assert_eq!((&*last.kind, last.actor.as_deref()), ("setting_changed", Some("admin")));
    let before = events[events.len() - 2].seq;
    let behind = client.events(Some(before), PageQuery::default()).await.unwrap();
    assert_eq!(behind.items, std::slice::from_ref(last));
}

#[tokio::test]
async fn a_viewer_gets_summaries_and_is_told_who_could_do_more() {
    let master = Master::start().await;
    master.enroll("worker-1").await;
    let (_running, client) = connect(&master, Role::Viewer).await;
    assert!(matches!(client.node("worker-1").await.unwrap(), ShownNode::Summary(_)));
    let refused = client.mint_token(&NewToken::default()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the master refused: This call needs the role admin; viewer has the role viewer. An operator of a higher role can do it."
    );
}

#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let master = Master::start().await;
    for n in 0..501 {
        let wish = NewToken { description: Some(n.to_string()), ..NewToken::default() };
        let minted = serde_json::to_value(&wish).unwrap();
        master.post("/v1/tokens", minted).await.is(201);
    }
    let (_running, client) = connect(&master, Role::Operator).await;
    let tokens = all_pages(|page| client.tokens(true, page)).await.unwrap();
    assert_eq!(tokens.len(), 501);
    let first = client.tokens(true, PageQuery { limit: Some(2), cursor: None }).await.unwrap();
    let next = PageQuery { limit: Some(2), cursor: None }.at(first.next_cursor.unwrap());
    let second = client.tokens(true, next).await.unwrap();
    assert_eq!(second.items[..], tokens[2..4]);
}

#[tokio::test]
async fn a_master_that_leads_in_a_circle_is_followed_once() {
    let list =
        |next: &str| enroll_http::wire::List { items: vec![1], next_cursor: Some(next.into()) };
    let rows = all_pages(async |_| Ok(list("same"))).await.unwrap();
    assert_eq!(rows, [1, 1]);
}

#[tokio::test]
async fn no_name_leads_to_another_path() {
    let master = Master::start().await;
    let (_running, client) = connect(&master, Role::Admin).await;
    for name in ["", ".", ".."] {
        assert!(matches!(client.delete_node(name, true).await, Err(ApiError::Name)));
        assert!(matches!(client.remove_admin(name).await, Err(ApiError::Name)));
    }
    for name in ["a/../b", "%2e%2e", "a?b", "a#b", "../tokens"] {
        let refused = client.node(name).await.unwrap_err();
        let code = refused.problem().unwrap().code();
        assert_eq!(code, Some(ErrorCode::ValidationFailed), "{name}: {refused}");
    }
}

#[tokio::test]
async fn who_is_not_the_master_never_sees_the_token() {
    let ca = Ca::new(DOMAIN);
    let never = || Router::new().fallback(async || -> &'static str { panic!("a request came") });
    let member = serve(never(), ca.sign(Leaf::new(&[NODE]))).await;
    let other = serve(never(), Ca::new(DOMAIN).master()).await;
    for (running, why) in [(&member, TlsRefusal::NotMaster), (&other, TlsRefusal::Chain)] {
        let refused = soon(client_of(running, &root(&ca)).node("a")).await.unwrap_err();
        assert!(matches!(&refused, ApiError::Tls { source, .. } if *source == why), "{refused:?}");
        assert!(refused.to_string().contains("give the root of this very master"), "{refused}");
        assert!(!texts(&refused).contains("s3cret"));
    }
    let plain = Running::start(never(), |listener| listener).await;
    let refused = soon(client_of(&plain, &root(&ca)).node("a")).await.unwrap_err();
    assert!(texts(&refused).contains("check that this is the address"), "{}", texts(&refused));
}

#[tokio::test]
async fn what_is_no_operator_api_is_told_from_what_is_not_there() {
    let ca = Ca::new(DOMAIN);
    let router = Router::new()
        .route("/v1/nodes/html", get(async || "<html>s3cret</html>"))
        .route("/v1/nodes/json", get(async || ([(CONTENT_TYPE, "application/json")], "{}")))
        .route("/v1/nodes/moved", get(async || (http::StatusCode::FOUND, [(LOCATION, "/v1/x")])))
        .route("/v1/nodes/never", get(async || std::future::pending::<&'static str>().await));
    let running = serve(router, ca.master()).await;
    let client = client_of(&running, &root(&ca));
    for (name, what) in [
        ("html", "line 1, column 1 of its JSON"),
        ("json", "of its JSON"),
        ("moved", "redirects are not followed"),
        ("gone", "status 404 Not Found without a reason"),
    ] {
        let error = client.node(name).await.unwrap_err();
        assert!(matches!(&error, ApiError::Malformed { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(what), "{name}: {error}");
        assert!(!texts(&error).contains("s3cret"), "{name}: {error}");
    }
    let hurried = client_of(&running, &root(&ca)).with_request_timeout(Duration::from_millis(100));
    let error = soon(hurried.node("never")).await.unwrap_err();
    assert!(matches!(&error, ApiError::Unreachable { .. }), "{error:?}");

    soon(running.stop()).await;
    let error = soon(client.node("a")).await.unwrap_err();
    assert!(matches!(&error, ApiError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("check that it runs"), "{error}");
    assert!(error.source().is_some());
    assert!(!texts(&error).contains("s3cret"));
}

#[test]
fn what_cannot_be_called_is_refused_before_it_is() {
    let root = root(&Ca::new(DOMAIN));
    let why = |url: &str, token: &str| {
        let token = AdminToken::presented(token.to_owned());
        OperatorClient::new(url, token, &root).map(|_| ()).unwrap_err()
    };
    assert!(matches!(why("http://master", "t"), ClientError::Plaintext));
    assert!(matches!(why("master:7482", "t"), ClientError::Url(_)));
    for token in ["", "a b", "s3cret\n", "\u{e4}"] {
        let why = why("https://master", token);
        assert!(matches!(why, ClientError::Token), "{token:?}");
        assert!(!format!("{why} {why:?}").contains("s3cret"));
    }
    let token = AdminToken::presented("s3cret".into());
    let client = OperatorClient::new("https://master/fleet/", token, &root).unwrap();
    assert_eq!(client.url(), "https://master/fleet/");
    assert!(!format!("{client:?}").contains("s3cret"));
}
