//! Who is no member any more is in the mesh no more.

use std::time::Duration;

use enroll_core::master::OperatorError;

use crate::stub::{Mood, Stub, StubNode, Version};
use crate::support::{Fleet, client, name, options};

#[tokio::test]
async fn a_deleted_node_is_gone_from_the_mesh_before_the_operator_is_answered() {
    for version in Version::ALL {
        let stub = Stub::start(version).await;
        let fleet = Fleet::new(client(&stub, options()));
        for (index, node) in ["worker-1", "worker-2"].into_iter().enumerate() {
            let key = fleet.enroll(&fleet.mint().await, node, index as u8).await;
            stub.join(node, &key);
        }
        stub.inside().nodes.push(StubNode { id: 90, name: "nas".into(), key: None });
        let unused = fleet.enroll(&fleet.mint().await, "worker-3", 3).await;
        assert_eq!(stub.open(), [unused]);

        fleet.enroller.delete_node(&name("worker-1"), false, "ann").await.unwrap();
        assert_eq!(stub.node_names(), ["worker-2", "nas"], "{version:?}: and nobody else");
        fleet.enroller.delete_node(&name("worker-3"), false, "ann").await.unwrap();
        assert_eq!(stub.open(), [""; 0], "{version:?}: it cannot join afterwards either");
    }
}

#[tokio::test]
async fn what_a_mesh_that_was_away_missed_is_made_up_for() {
    let stub = Stub::start(Version::V029).await;
    let fleet = Fleet::new(client(&stub, options()));
    let key = fleet.enroll(&fleet.mint().await, "worker-1", 1).await;
    stub.join("worker-1", &key);
    stub.feel(Mood::Fails);
    fleet.enroller.delete_node(&name("worker-1"), false, "ann").await.unwrap();
    assert_eq!(stub.node_names(), ["worker-1"]);
    let tried = fleet.enroller.tidy_mesh().await;
    assert!(matches!(tried, Err(OperatorError::Mesh(_))), "{tried:?}");

    stub.feel(Mood::Well);
    let watched = fleet.enroller.tend_mesh_until(async {
        while !stub.node_names().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::time::timeout(Duration::from_secs(60), watched).await.expect("it is taken out");
}

#[tokio::test]
async fn a_replaced_machine_leaves_its_name_to_the_next() {
    let stub = Stub::start(Version::V029).await;
    let fleet = Fleet::new(client(&stub, options()));
    let first = fleet.enroll(&fleet.register("worker-1").await, "worker-1", 1).await;
    stub.join("worker-1", &first);
    let token = fleet.enroller.regenerate(name("worker-1"), "ann").await.unwrap().minted.token;
    let second = fleet.enroll(&token, "worker-1", 2).await;
    assert_eq!(stub.node_names(), [""; 0], "the name is free when the answer goes out");
    stub.join("worker-1", &second);
    fleet.enroller.tidy_mesh().await.unwrap();
    assert_eq!(stub.node_names(), ["worker-1"], "the new one stays");
}

#[tokio::test]
async fn an_answer_given_again_brings_another_key_and_closes_the_first() {
    let stub = Stub::start(Version::V026).await;
    let fleet = Fleet::new(client(&stub, options()));
    let token = fleet.mint().await;
    let first = fleet.enroll(&token, "worker-1", 1).await;
    let second = fleet.enroll(&token, "worker-1", 1).await;
    assert_ne!(first, second);
    assert_eq!(stub.open(), [second]);
    assert_eq!(fleet.uses(token.id()).await, 1);
}

#[tokio::test]
async fn a_mesh_that_was_set_up_anew_is_not_taken_for_the_old_one() {
    let stub = Stub::start(Version::V029).await;
    let fleet = Fleet::new(client(&stub, options()));
    let key = fleet.enroll(&fleet.mint().await, "worker-1", 1).await;
    stub.join("worker-1", &key);
    fleet.enroller.delete_node(&name("worker-1"), false, "ann").await.unwrap();
    {
        // The same ids, of other keys.
        let mut inside = stub.inside();
        inside.keys[0].created = inside.keys[0].created.after(Duration::from_secs(86_400));
        inside.nodes.push(StubNode { id: 1, name: "laptop".into(), key: Some(1) });
    }
    fleet.enroller.tidy_mesh().await.unwrap();
    assert_eq!(stub.node_names(), ["laptop"]);
}

#[tokio::test]
async fn a20_both_sides_are_listed_and_matched() {
    let stub = Stub::start(Version::V029).await;
    let fleet = Fleet::new(client(&stub, options()));
    stub.inside().nodes.push(StubNode { id: 1, name: "master".into(), key: None });
    stub.inside().nodes.push(StubNode { id: 90, name: "nas".into(), key: None });
    let key = fleet.enroll(&fleet.mint().await, "worker-1", 1).await;
    stub.join("worker-1", &key);
    let members = fleet.enroller.mesh_members().await.unwrap();
    let shown: Vec<_> = members
        .iter()
        .map(|it| {
            let ours = it.member.as_ref().map(|(_, name)| name.as_str());
            (it.node.name.as_str(), it.master, ours)
        })
        .collect();
    let expected =
        [("master", true, None), ("worker-1", false, Some("worker-1")), ("nas", false, None)];
    assert_eq!(shown, expected, "the oldest first");
}
