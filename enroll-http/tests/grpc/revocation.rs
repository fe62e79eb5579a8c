//! The end of an identity is the end of its open streams, on every master.

use std::sync::Arc;
use std::time::Duration;

use enroll_core::issue::x509::Authority;
use enroll_core::master::{Enroller, MintRequest};
use enroll_core::model::Clock;
use tokio::time::Instant;
use tonic::Code;

use super::support::{Beats, Member, assert_refused, counted, end_of, last_seen, promptly, until};
use crate::common::fleet::{DAY, Fleet, name};

/// Another master on the same store.
fn another_master(fleet: &Fleet) -> Enroller {
    let authority: Arc<Authority> = Arc::clone(&fleet.authority);
    Enroller::new(Arc::clone(&fleet.store) as _, authority)
        .with_clock(Arc::clone(&fleet.clock) as Arc<dyn Clock>)
}

async fn open(
    fleet: &Fleet,
    member: &Member,
) -> (Beats, tonic::Streaming<enroll_http::fleet::v1::Instruction>) {
    let (_, listening) = member.listening().await.unwrap();
    let beats = member.beats();
    beats.beat().await;
    until("it is heard", async || last_seen(fleet, &member.name).await.is_some()).await;
    (beats, listening)
}

#[tokio::test]
async fn a8_a_deletion_by_another_master_ends_open_streams_within_a_second() {
    let (fleet, _) = counted().await;
    let (_, _, enrolled) = fleet.enrolled("worker-2").await;
    let key = enrolled["credentials"][1]["key"].as_str().unwrap();
    let by_key = Member::with_key(&fleet, "worker-2", key).await;
    let by_certificate = Member::enrolled(&fleet, "worker-1").await;
    let mut took = Vec::new();
    for member in [by_certificate, by_key] {
        let (beats, mut listening) = open(&fleet, &member).await;
        another_master(&fleet).delete_node(&name(&member.name), true, "admin").await.unwrap();
        let began = Instant::now();
        assert_refused(
            &promptly(end_of(&mut listening)).await,
            Code::Unauthenticated,
            "unauthorized",
        );
        assert_refused(&promptly(beats.end()).await, Code::Unauthenticated, "unauthorized");
        took.push(began.elapsed());
        let refusal = member.listening().await.map(drop).unwrap_err();
        assert_refused(&refusal, Code::Unauthenticated, "unauthorized");
    }
    // A busy machine may add to one of them, hardly to both.
    let fastest = took.iter().min().unwrap();
    assert!(*fastest < Duration::from_secs(1), "{took:?}");
    until("none is left", async || fleet.enroller.streams() == 0).await;
}

#[tokio::test]
async fn a_replaced_machine_is_cut_off_and_its_successor_is_not() {
    let (fleet, _) = counted().await;
    let old = Member::enrolled(&fleet, "worker-1").await;
    let (beats, mut listening) = open(&fleet, &old).await;
    let bound = MintRequest::new().with_node_name(name("worker-1"));
    let token = fleet.mint(bound).await;
    let machine = crate::common::fleet::Machine::new();
    let answer = fleet.stranger().enroll(&machine.request(&token, "worker-1")).await;
    let identity = machine.identity(&answer.certificate());
    assert_refused(&promptly(end_of(&mut listening)).await, Code::Unauthenticated, "unauthorized");
    let new = Member::connect(&fleet, "worker-1", Some(identity)).await;
    let (_, _listening) = new.listening().await.unwrap();
    assert_refused(&promptly(beats.end()).await, Code::Unauthenticated, "unauthorized");
    let beats = new.beats();
    beats.beat().await;
    until("it is heard", async || last_seen(&fleet, "worker-1").await.is_some()).await;
}

#[tokio::test]
async fn a8_a_heartbeat_between_a_replacement_and_the_end_of_its_stream_never_counts() {
    let (fleet, _) = counted().await;
    let old = Member::enrolled(&fleet, "worker-1").await;
    let (beats, _listening) = open(&fleet, &old).await;
    let token = fleet.mint(MintRequest::new().with_node_name(name("worker-1"))).await;
    let machine = crate::common::fleet::Machine::new();
    fleet.stranger().enroll(&machine.request(&token, "worker-1")).await;
    fleet.clock.advance(Duration::from_secs(1));
    // The stream is open still, and its heartbeat is later than the replacement.
    beats.beat().await;
    assert_refused(&promptly(beats.end()).await, Code::Unauthenticated, "unauthorized");
    fleet.enroller.flush().await;
    assert_eq!(last_seen(&fleet, "worker-1").await, None, "the new machine has said nothing yet");
}

#[tokio::test]
async fn a_certificate_that_runs_out_ends_its_streams() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let (beats, mut listening) = open(&fleet, &member).await;
    fleet.clock.advance(31 * DAY);
    assert_refused(&promptly(end_of(&mut listening)).await, Code::Unauthenticated, "unauthorized");
    assert_refused(&promptly(beats.end()).await, Code::Unauthenticated, "unauthorized");
}
