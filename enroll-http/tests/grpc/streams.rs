//! Heartbeats over a stream, and what keeps a stream within its bounds.

use std::time::Duration;

use enroll_core::master::Enroller;
use enroll_core::store::StoreErrorKind;
use enroll_core::testing::{Fault, Operation};
use enroll_http::fleet::{MAX_MESSAGE, PROBLEM, v1};
use enroll_http::server::Drained;
use serde_json::{Value, json};
use tonic::Code;

use super::support::{
    Member, assert_refused, count, counted, end_of, journal, last_seen, promptly, until,
};
use crate::common::fleet::{Fleet, START, name};

#[tokio::test]
async fn a_stream_of_heartbeats_makes_a_node_ready_and_keeps_it_so() {
    let fleet = Fleet::start().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let beats = member.beats();
    beats.beat().await;
    until("the first is on record", async || last_seen(&fleet, "worker-1").await.is_some()).await;
    for minutes in 1..4 {
        let at = fleet.clock.advance(Duration::from_secs(60));
        beats.beat().await;
        until("a later one is", async || last_seen(&fleet, "worker-1").await == Some(at)).await;
        assert_eq!(at.since(START), Duration::from_secs(60 * minutes));
    }
    assert_eq!(beats.finish().await, 4);
    let journal = journal(&fleet).await;
    let first = journal.iter().filter(|event| event["type"] == "first_heartbeat");
    assert_eq!(first.count(), 1);
}

#[tokio::test]
async fn what_a_machine_says_of_itself_comes_with_any_heartbeat() {
    let fleet = Fleet::start().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let beats = member.beats();
    let say = |os: &str| v1::HeartbeatRequest {
        node_name: "worker-1".into(),
        facts_json: Some(json!({ "os": os }).to_string()),
    };
    for os in ["linux", "plan9"] {
        beats.say(say(os)).await;
        // Several before the next look at the store are one: what was said is not lost.
        beats.beat().await;
        until("it is on record", async || {
            let node = fleet.enroller.node(&name("worker-1")).await.unwrap();
            node.facts.os.as_deref() == Some(os)
        })
        .await;
    }
    let mut odd = say("x");
    odd.facts_json = Some("{".into());
    beats.say(odd).await;
    assert_refused(&beats.end().await, Code::InvalidArgument, "bad_request");
}

#[tokio::test]
async fn a9_no_name_but_the_identitys_is_taken_on_any_call() {
    let (fleet, metrics) = counted().await;
    let (_, _, other) = fleet.enrolled("worker-2").await;
    let key = other["credentials"][1]["key"].as_str().unwrap();
    let by_certificate = Member::enrolled(&fleet, "worker-1").await;
    let by_key_of_another = Member::with_key(&fleet, "worker-1", key).await;
    for (member, claims) in [(by_certificate, "worker-2"), (by_key_of_another, "worker-1")] {
        let node_name = claims.to_owned();
        let before = count(&metrics, "enroll_name_mismatches_total");
        let mut beats = member.beats();
        beats.name.clone_from(&node_name);
        beats.beat().await;
        let mut stub = member.stub.clone();
        let listen = member.request(v1::CommandsRequest { node_name: node_name.clone() });
        let renew = member.request(v1::RenewRequest { node_name: node_name.clone(), csr: None });
        let report = v1::AcknowledgeRequest { node_name: node_name.clone(), ..Default::default() };
        let report = member.request(report);
        let samples = v1::ReportMetricsRequest { node_name: node_name.clone(), samples: vec![] };
        let samples = member.request(futures_util::stream::iter([samples]));
        let events = v1::ReportEventsRequest { node_name: node_name.clone(), events: vec![] };
        let events = member.request(futures_util::stream::iter([events]));
        let refusals = [
            beats.end().await,
            stub.commands(listen).await.map(drop).unwrap_err(),
            stub.renew(renew).await.map(drop).unwrap_err(),
            stub.acknowledge(report).await.map(drop).unwrap_err(),
            stub.report_metrics(samples).await.map(drop).unwrap_err(),
            stub.report_events(events).await.map(drop).unwrap_err(),
        ];
        for refusal in &refusals {
            assert_refused(refusal, Code::PermissionDenied, "name_mismatch");
            let problem = refusal.metadata().get_bin(PROBLEM).unwrap().to_bytes().unwrap();
            let problem: Value = serde_json::from_slice(&problem).unwrap();
            assert_eq!(
                (&problem["reason"], &problem["status"]),
                (&json!("name_mismatch"), &json!(403))
            );
        }
        let counted = count(&metrics, "enroll_name_mismatches_total") - before;
        assert_eq!(counted, refusals.len() as u64);
    }
    assert_eq!(last_seen(&fleet, "worker-1").await, None);
    assert_eq!(last_seen(&fleet, "worker-2").await, None);
}

#[tokio::test]
async fn a9_a_name_that_changes_in_the_middle_of_a_stream_ends_it() {
    let (fleet, metrics) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let mut beats = member.beats();
    beats.beat().await;
    // Where it was said once it may be left out.
    beats.name = String::new();
    beats.beat().await;
    beats.name = "worker-2".into();
    beats.beat().await;
    assert_refused(&beats.end().await, Code::PermissionDenied, "name_mismatch");
    assert_eq!(count(&metrics, "enroll_name_mismatches_total"), 1);
    let mut nameless = member.beats();
    nameless.name = String::new();
    nameless.beat().await;
    assert_refused(&nameless.end().await, Code::InvalidArgument, "bad_request");
}

#[tokio::test]
async fn who_presents_nothing_or_nonsense_is_nobody() {
    let (fleet, _) = counted().await;
    let (_, _, enrolled) = fleet.enrolled("worker-1").await;
    let key = enrolled["credentials"][1]["key"].as_str().unwrap();
    let nobody = Member::connect(&fleet, "worker-1", None).await;
    let damaged = Member::with_key(&fleet, "worker-1", &key[1..]).await;
    for member in [nobody, damaged] {
        let beats = member.beats();
        assert_refused(&beats.end().await, Code::Unauthenticated, "unauthorized");
        let refusal = member.listening().await.map(drop).unwrap_err();
        assert_refused(&refusal, Code::Unauthenticated, "unauthorized");
    }
    let member = Member::with_key(&fleet, "worker-1", key).await;
    let beats = member.beats();
    beats.beat().await;
    until("it is heard", async || last_seen(&fleet, "worker-1").await.is_some()).await;
}

#[tokio::test]
async fn a_member_has_so_many_streams_open_and_no_more() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let mut open = Vec::new();
    for _ in 0..Enroller::MAX_STREAMS {
        open.push(member.listening().await.unwrap());
    }
    assert_eq!(fleet.enroller.streams(), Enroller::MAX_STREAMS);
    let refusal = member.listening().await.map(drop).unwrap_err();
    assert_refused(&refusal, Code::ResourceExhausted, "rate_limited");
    drop(open.pop());
    until("its place is free", async || fleet.enroller.streams() < Enroller::MAX_STREAMS).await;
    open.push(member.listening().await.unwrap());
    drop(open);
    until("all are", async || fleet.enroller.streams() == 0).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_its_stream_alone() {
    let fleet = Fleet::start().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let (_, mut listening) = member.listening().await.unwrap();
    let beats = member.beats();
    let large = "x".repeat(MAX_MESSAGE + 1);
    beats.say(v1::HeartbeatRequest { node_name: "worker-1".into(), facts_json: Some(large) }).await;
    assert_eq!(beats.end().await.code(), Code::OutOfRange);
    let other = member.beats();
    other.beat().await;
    assert_eq!(other.finish().await, 1);
    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    assert_refused(&end_of(&mut listening).await, Code::Unauthenticated, "unauthorized");
}

#[tokio::test]
async fn a_shutdown_ends_the_streams_and_waits_for_none() {
    let mut fleet = Fleet::start().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let (_, mut listening) = member.listening().await.unwrap();
    let beats = member.beats();
    beats.beat().await;
    until("it is heard", async || last_seen(&fleet, "worker-1").await.is_some()).await;
    fleet.steady.begin_stop();
    assert_refused(&end_of(&mut listening).await, Code::Unavailable, "unavailable");
    assert_refused(&beats.end().await, Code::Unavailable, "unavailable");
    drop(member);
    assert_eq!(promptly(fleet.steady.stop()).await, Drained::Clean);
}

#[tokio::test]
async fn while_the_store_is_silent_streams_end_after_a_while_and_no_beat_is_lost_before() {
    let fleet = Fleet::start().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let beats = member.beats();
    beats.beat().await;
    until("it is heard", async || last_seen(&fleet, "worker-1").await.is_some()).await;
    let silent = |count| (0..count).map(|_| Fault::Before(StoreErrorKind::Unavailable));
    fleet.store.script(Operation::Touched, silent(4));
    let at = fleet.clock.advance(Duration::from_secs(60));
    beats.beat().await;
    until("it is, as soon as the store answers", async || {
        last_seen(&fleet, "worker-1").await == Some(at)
    })
    .await;
    fleet.store.script(Operation::Touched, silent(1000));
    assert_refused(&beats.end().await, Code::Unavailable, "unavailable");
}

#[tokio::test]
async fn a_call_the_service_does_not_know_is_answered_as_grpc_does() {
    let fleet = Fleet::start().await;
    let member = fleet.stranger();
    let call = member.steady(reqwest::Method::POST, "/enroll.v1.Fleet/Unknown");
    let answer = call.header("content-type", "application/grpc").send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12", "UNIMPLEMENTED");
}
