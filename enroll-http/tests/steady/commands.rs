//! What a member is to do, until it has said that it did.

use axum::http::StatusCode;
use enroll_core::master::Enroller;
use enroll_core::model::{
    CommandClass, CommandId, CommandRecord, CommandStatus, Event, SystemEntropy, What,
};
use enroll_core::store::{Commands as _, Page};
use serde_json::{Value, json};

use crate::common::fleet::{Client, Fleet, START, Setup, name};

fn setup() -> Setup {
    let master = |enroller: Enroller| enroller.with_command("look", CommandClass::Monitor);
    Setup { master: Box::new(master), ..Setup::default() }
}

async fn beat(member: &Client, node: &str) -> Value {
    let answer = member.post_steady("/v1/self/heartbeat", &json!({"node_name": node})).await;
    answer.assert_ok("HeartbeatAnswer");
    answer.body["commands"].clone()
}

#[tokio::test]
async fn a_command_comes_with_every_heartbeat_until_it_is_acknowledged() {
    let fleet = Fleet::with(setup()).await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    let node = name("worker-1");
    let payload = json!({"at": ["/var"]});
    let queued = fleet.enroller.queue_command(&node, "look", payload.clone(), "op").await.unwrap();
    let id = queued.id.to_string();
    let expected = json!([{"id": id, "kind": "look", "payload": payload}]);
    assert_eq!(beat(&member, "worker-1").await, expected);
    assert_eq!(beat(&member, "worker-1").await, expected);

    let path = format!("/v1/self/commands/{id}");
    let report = json!({"status": "done", "output": "3 files"});
    for _ in 0..2 {
        let answer = member.post_steady(&path, &report).await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::NO_CONTENT, ""));
    }
    assert_eq!(beat(&member, "worker-1").await, json!([]));
    let commands = fleet.enroller.commands(&node, Page::first(1)).await.unwrap();
    assert_eq!(commands[0].status, CommandStatus::Done);
    assert_eq!(commands[0].output.as_deref(), Some("3 files"));
}

#[tokio::test]
async fn what_the_state_allows_is_not_hidden_behind_what_it_does_not() {
    let fleet = Fleet::with(setup()).await;
    let (machine, certificate, _) = fleet.enrolled("worker-1").await;
    let member = fleet.member(&machine, &certificate);
    let node = name("worker-1");
    let look = || fleet.enroller.queue_command(&node, "look", json!(null), "op");
    let known = look().await.unwrap();
    // As they stand once a node is not fused any more.
    for _ in 0..Enroller::COMMANDS_AT_ONCE {
        let id = CommandId::generate(START, &SystemEntropy::new()).unwrap();
        let class = CommandClass::Control;
        let control = CommandRecord { id, class, queued_at: START, ..known.clone() };
        let event = Event::new(START, What::SettingChanged { key: "key".into() });
        let _queued = fleet.store.queue_command(control, event).await.unwrap();
    }
    let last = look().await.unwrap();
    let commands = beat(&member, "worker-1").await;
    let ids: Vec<_> = commands.as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, [known.id, last.id].map(|id| json!(id.to_string())));
}

#[tokio::test]
async fn a_member_speaks_of_its_own_commands_alone() {
    let fleet = Fleet::with(setup()).await;
    let (_, _, _) = fleet.enrolled("worker-1").await;
    let (machine, certificate, _) = fleet.enrolled("worker-2").await;
    let other = fleet.member(&machine, &certificate);
    let node = name("worker-1");
    let queued = fleet.enroller.queue_command(&node, "look", json!(null), "op").await.unwrap();
    let mine = queued.id.to_string();
    for id in [&*mine, "x", "%ff", "%00", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        let path = format!("/v1/self/commands/{id}");
        other.post_steady(&path, &json!({"status": "done"})).await.assert_problem(404);
        let answer = other.post_steady(&path, &json!({"status": "queued"})).await;
        answer.assert_problem(400);
    }
    let commands = fleet.enroller.commands(&node, Page::first(1)).await.unwrap();
    assert_eq!(commands[0].status, CommandStatus::Queued);
}
