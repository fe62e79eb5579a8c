//! Every request is authorised from the store, whatever the handshake once said.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use enroll_core::master::MintRequest;
use enroll_core::store::StoreErrorKind;
use enroll_core::testing::{Fault, Operation};
use enroll_http::server::{Limits, SteadyOptions, steady_router};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::common::fleet::{Answer, Client, Fleet, Machine, Setup, leaf, name, serve_members};
use crate::common::{dial, soon};

async fn with_key(client: &Client, key: &str) -> Answer {
    Answer::of(client.steady(reqwest::Method::GET, "/v1/self").bearer_auth(key)).await
}

#[tokio::test]
async fn who_presents_nothing_or_nonsense_is_nobody_and_hears_the_same() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (_, _, enrolled) = fleet.enrolled("worker-1").await;
    let whole = enrolled["credentials"][1]["key"].as_str().unwrap();
    let client = fleet.stranger();
    let nothing = client.get_steady("/v1/self").await;
    nothing.assert_unauthorized();
    let foreign = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (_, _, elsewhere) = foreign.enrolled("worker-1").await;
    let unknown = elsewhere["credentials"][1]["key"].as_str().unwrap();
    for key in ["", "x", &whole[1..], unknown] {
        let answer = with_key(&client, key).await;
        answer.assert_unauthorized();
        assert_eq!(answer.text, nothing.text, "one answer for every cause");
    }
    for path in ["/v1/self/heartbeat", "/v1/self/renew", "/v1/self/commands/x"] {
        client.post_steady(path, &json!({"node_name": "worker-1"})).await.assert_unauthorized();
    }
    assert_eq!(with_key(&client, whole).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_header_and_no_body_outweighs_the_certificate() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let (_, _, other) = fleet.enrolled("worker-2").await;
    let key = other["credentials"][1]["key"].as_str().unwrap();
    let member = fleet.member(&machine, &certificate);
    assert_eq!(with_key(&member, key).await.body["name"], "worker-1");
    let claiming = member.steady(reqwest::Method::GET, "/v1/self");
    let claiming = claiming.header("x-forwarded-client-cert", "By=x;URI=spiffe://a/node/worker-2");
    assert_eq!(Answer::of(claiming).await.body["name"], "worker-1");

    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    with_key(&member, key).await.assert_unauthorized();
}

/// Sends a request on a connection that stays open, and reads the status of its answer.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), line: &str) -> String {
    answered(stream, line).await.expect("it is open")
}

/// The same; `None` where the connection is closed instead.
async fn answered(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    line: &str,
) -> Option<String> {
    let request = format!("{line} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut read = Vec::new();
    loop {
        read.push(soon(stream.read_u8()).await.ok()?);
        let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        soon(stream.read_exact(&mut body)).await.unwrap();
        return head.lines().next().map(str::to_owned);
    }
}

#[tokio::test]
async fn who_holds_a_revoked_certificate_takes_no_place_of_the_member() {
    let fleet = Fleet::start().await;
    let router = steady_router(Arc::clone(&fleet.enroller), SteadyOptions::new());
    let limits = Limits::new().with_per_address(1).with_per_member(1);
    let running =
        serve_members(&fleet.authority, &fleet.clock, router, |l| l.with_limits(limits)).await;
    let connect = async |identity| {
        let mut stream = dial(running.addr, fleet.tls(identity).config().unwrap()).await.ok()?;
        let status = answered(&mut stream, "GET /v1/self").await?;
        Some((stream, status.split(' ').nth(1)?.to_owned()))
    };
    let status = |connected: &Option<(_, String)>| connected.as_ref().map(|(_, it)| it.clone());
    let (thief, stolen, _) = fleet.enrolled("worker-1").await;
    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let identity = || Some(machine.identity(&certificate));

    let revoked = connect(Some(thief.identity(&stolen))).await;
    assert_eq!(status(&revoked).as_deref(), Some("401"));
    assert!(connect(None).await.is_none(), "it is the one stranger of its address");
    drop(revoked);
    let freed = async {
        loop {
            if let Some(member) = connect(identity()).await {
                return Some(member);
            }
        }
    };
    let member = soon(freed).await;
    assert_eq!(status(&member).as_deref(), Some("200"));
    let stranger = connect(None).await;
    assert_eq!(status(&stranger).as_deref(), Some("401"), "a member is no stranger");
    drop(stranger);

    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    let (mut member, _) = member.unwrap();
    assert!(exchange(&mut member, "GET /v1/self").await.contains("401"));
    // The stranger of before is gone by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(connect(None).await.is_none(), "it is a stranger's again");
}

#[tokio::test]
async fn an_identity_revoked_on_an_open_connection_is_nobody_at_the_next_request() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let tls = fleet.tls(Some(machine.identity(&certificate)));
    let mut stream = dial(fleet.steady.addr, tls.config().unwrap()).await.unwrap();
    assert_eq!(exchange(&mut stream, "GET /v1/self").await, "http/1.1 200 ok");
    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    for line in ["GET /v1/self", "POST /v1/self/heartbeat", "POST /v1/self/renew"] {
        assert_eq!(exchange(&mut stream, line).await, "http/1.1 401 unauthorized", "{line}");
    }
    assert_eq!(exchange(&mut stream, "GET /healthz").await, "http/1.1 200 ok", "it is still open");
}

#[tokio::test]
async fn a_certificate_that_runs_out_on_an_open_connection_is_nobodys() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let tls = fleet.tls(Some(machine.identity(&certificate)));
    let mut stream = dial(fleet.steady.addr, tls.config().unwrap()).await.unwrap();
    assert_eq!(exchange(&mut stream, "GET /v1/self").await, "http/1.1 200 ok");
    fleet.clock.set(leaf(&certificate).not_after().after(Duration::from_secs(1)));
    assert_eq!(exchange(&mut stream, "GET /v1/self").await, "http/1.1 401 unauthorized");
}

#[tokio::test]
async fn the_api_key_of_a_deleted_node_is_nobodys() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (_, _, enrolled) = fleet.enrolled("worker-1").await;
    let key = enrolled["credentials"][1]["key"].as_str().unwrap();
    assert_eq!(with_key(&fleet.stranger(), key).await.status, StatusCode::OK);
    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    with_key(&fleet.stranger(), key).await.assert_unauthorized();
}

#[tokio::test]
async fn a_machine_that_was_replaced_is_nobody() {
    let fleet = Fleet::start().await;
    let (machine, certificate, first) = fleet.enrolled("worker-1").await;
    let token = fleet.mint(MintRequest::new().with_node_name(name("worker-1"))).await;
    let member = fleet.member(&machine, &certificate);
    assert_eq!(member.get_steady("/v1/self").await.status, StatusCode::OK);
    let replacing = Machine::new();
    let answer = fleet.stranger().enroll(&replacing.request(&token, "worker-1")).await;
    assert_eq!(answer.body["node_id"], first["node_id"], "{}", answer.text);
    member.get_steady("/v1/self").await.assert_unauthorized();
    let member = fleet.member(&replacing, &answer.certificate());
    assert_eq!(member.get_steady("/v1/self").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_first_request_ends_the_time_in_which_an_answer_is_given_again() {
    let fleet = Fleet::start().await;
    let (machine, token) = (Machine::new(), fleet.mint_one_shot().await);
    let request = machine.request(&token, "worker-1");
    let client = fleet.stranger();
    let certificate = client.enroll(&request).await.certificate();
    assert_eq!(client.enroll(&request).await.body["redelivered"], true);
    let me = fleet.member(&machine, &certificate).get_steady("/v1/self").await;
    assert_eq!(me.status, StatusCode::OK);
    assert_eq!(client.enroll(&request).await.reason(), "already_consumed");
}

#[tokio::test]
async fn a_master_is_no_member() {
    let fleet = Fleet::start().await;
    let entropy = enroll_core::model::SystemEntropy::new();
    let start = crate::common::fleet::START;
    let master = fleet.authority.issue_master(&[], start, &entropy).unwrap();
    let identity = enroll_http::tls::TlsIdentity::of_master(&master).unwrap();
    fleet.client(Some(identity)).get_steady("/v1/self").await.assert_unauthorized();
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_like_any_other() {
    let fleet = Fleet::start().await;
    let client = fleet.stranger();
    client.get_steady("/v1/tokens").await.assert_problem(404);
    let answer = client.get_steady("/v1/self/heartbeat").await;
    answer.assert_problem(405);
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_store_that_cannot_say_makes_nobody_a_member_and_nobody_an_outcast() {
    let fleet = Fleet::start().await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    for operation in [Operation::Member, Operation::MarkUsed] {
        fleet.store.script(operation, [Fault::Before(StoreErrorKind::Unavailable)]);
        let answer = member.get_steady("/v1/self").await;
        answer.assert_problem(503);
        assert_eq!((answer.reason(), answer.header("retry-after")), ("unavailable", Some("5")));
    }
    assert_eq!(member.get_steady("/v1/self").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_damaged_api_key_costs_the_store_nothing() {
    let fleet = Fleet::with(Setup { api_keys: true, ..Setup::default() }).await;
    let (_, _, enrolled) = fleet.enrolled("worker-1").await;
    let whole = enrolled["credentials"][1]["key"].as_str().unwrap();
    with_key(&fleet.stranger(), &whole[..whole.len() - 1]).await.assert_unauthorized();
    assert_eq!(fleet.store.calls(Operation::Member), 0);
}
