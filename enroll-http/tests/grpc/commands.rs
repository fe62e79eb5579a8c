//! Commands over the open stream: at once, in order, at least once.

use std::time::Duration;

use enroll_core::master::Enroller;
use enroll_core::model::{CommandClass, CommandStatus};
use enroll_core::store::Page;
use enroll_core::testing::Operation;
use enroll_http::fleet::v1;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use super::support::{Member, assert_refused, counted, next_command, promptly};
use crate::common::fleet::{Fleet, name};

async fn queue(fleet: &Fleet, at: u32) -> String {
    let (node, payload) = (name("worker-1"), json!({ "at": at }));
    let queued = fleet.enroller.queue_command(&node, "look", payload, "op").await;
    queued.unwrap().id.to_string()
}

fn done(member: &Member, id: &str) -> tonic::Request<v1::AcknowledgeRequest> {
    member.request(v1::AcknowledgeRequest {
        node_name: "worker-1".into(),
        command_id: id.into(),
        done: true,
        output: Some("3 files".into()),
    })
}

#[tokio::test]
async fn a_command_comes_at_once_and_again_until_it_is_acknowledged() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let before = queue(&fleet, 0).await;
    let (terms, mut stream) = member.listening().await.unwrap();
    assert_eq!((terms.heartbeat_interval_secs, terms.renew), (30, false));
    assert_eq!(terms.server_time_unix_millis, fleet.clock.advance(Duration::ZERO).unix_millis());
    assert_eq!(next_command(&mut stream).await.id, before, "what waits when it begins");
    let mut fastest = Duration::MAX;
    let mut ids = vec![before];
    for at in 1..4 {
        let id = queue(&fleet, at).await;
        let began = Instant::now();
        let command = promptly(next_command(&mut stream)).await;
        fastest = fastest.min(began.elapsed());
        assert_eq!((&command.id, &*command.kind), (&id, "look"));
        assert_eq!(command.payload_json, json!({ "at": at }).to_string());
        ids.push(id);
    }
    assert!(fastest < Duration::from_millis(300), "it waits for no look at the store: {fastest:?}");
    drop(stream);

    let (_, mut stream) = member.listening().await.unwrap();
    for id in &ids {
        assert_eq!(next_command(&mut stream).await.id, *id, "in their order");
    }
    let mut stub = member.stub.clone();
    for _ in 0..2 {
        stub.acknowledge(done(&member, &ids[0])).await.unwrap();
    }
    let (_, mut stream) = member.listening().await.unwrap();
    assert_eq!(next_command(&mut stream).await.id, ids[1]);
    let commands = fleet.enroller.commands(&name("worker-1"), Page::first(10)).await.unwrap();
    let oldest = commands.last().unwrap();
    assert_eq!((oldest.status, oldest.output.as_deref()), (CommandStatus::Done, Some("3 files")));
    let refusal = stub.acknowledge(done(&member, "x")).await.map(drop).unwrap_err();
    assert_refused(&refusal, Code::NotFound, "not_found");
}

#[tokio::test]
async fn what_waits_behind_a_full_hand_comes_as_soon_as_there_is_room() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let most = Enroller::COMMANDS_AT_ONCE;
    let mut waiting = Vec::new();
    for at in 0..2 * most + 1 {
        waiting.push(queue(&fleet, at).await);
    }
    let (_, mut stream) = member.listening().await.unwrap();
    let mut stub = member.stub.clone();
    // Each full hand, and the one that is left, is there long before all is said again.
    for hand in waiting.chunks(most as usize) {
        for id in hand {
            assert_eq!(promptly(next_command(&mut stream)).await.id, *id);
        }
        for id in hand {
            stub.acknowledge(done(&member, id)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_did_not_read_before_a_revocation_reads_no_command_after_it() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    // Far more than a peer may be sent ahead of its reading.
    let payload = json!("x".repeat(15_000));
    for _ in 0..40 {
        let queued =
            fleet.enroller.queue_command(&name("worker-1"), "look", payload.clone(), "op").await;
        queued.unwrap();
    }
    let (_, mut stream) = member.listening().await.unwrap();
    next_command(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    fleet.enroller.delete_node(&name("worker-1"), true, "admin").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut read = 1;
    let refusal = loop {
        match stream.message().await {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("it ends with a reason"),
            Err(refusal) => break refusal,
        }
    };
    assert_refused(&refusal, Code::Unauthenticated, "unauthorized");
    assert!(read < 30, "{read} of 40 commands, where some five were under way");
}

#[tokio::test]
async fn a_command_that_another_master_queued_comes_within_a_second() {
    let (fleet, _) = counted().await;
    let member = Member::enrolled(&fleet, "worker-1").await;
    let (_, mut stream) = member.listening().await.unwrap();
    let other = Enroller::with_issuers(std::sync::Arc::clone(&fleet.store) as _, Vec::new())
        .with_command("look", CommandClass::Monitor);
    let mut took = Vec::new();
    for _ in 0..3 {
        let queued =
            other.queue_command(&name("worker-1"), "look", json!(null), "op").await.unwrap();
        let began = Instant::now();
        assert_eq!(promptly(next_command(&mut stream)).await.id, queued.id.to_string());
        took.push(began.elapsed());
    }
    assert!(took.iter().min() < Some(&Duration::from_secs(1)), "{took:?}");
}

#[tokio::test]
async fn streams_that_rest_cost_the_store_one_look_for_all() {
    let (fleet, _) = counted().await;
    let mut open = Vec::new();
    for n in 0..20 {
        let member = Member::enrolled(&fleet, &format!("worker-{n}")).await;
        open.push((member.listening().await.unwrap(), member));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = || {
        [Operation::Touched, Operation::Standing, Operation::Member, Operation::OpenCommands]
            .map(|operation| fleet.store.calls(operation))
    };
    let before = asked();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent: Vec<usize> = asked().iter().zip(before).map(|(now, then)| now - then).collect();
    assert!((1..=6).contains(&spent[0]), "{spent:?}");
    assert_eq!(spent[1..], [0, 0, 0]);
}
