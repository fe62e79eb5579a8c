//! N3: heartbeats, many at once.

use std::sync::Arc;

use super::fleet::{Fleet, at, of_arch, some};
use crate::model::{IdentityId, NodeRecord, Timestamp};
use crate::store::{Beat, Store, UseOutcome};
use crate::testing::{Claimant, name, race};

async fn seen(fleet: &Fleet, node: &NodeRecord) -> Option<Timestamp> {
    fleet.node(&node.name).await.expect("the node is there").last_seen_at
}

/// N3: heartbeats move forward only, also within one batch.
pub async fn n3_heartbeats_move_forward_only(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    assert_eq!(seen(&fleet, &node).await, None, "R4: never heard from");
    for (sent, expected) in [(5, 5), (3, 5), (5, 5), (8, 8), (7, 8)] {
        fleet.beat(&node, at(sent), None).await;
        assert_eq!(seen(&fleet, &node).await, Some(at(expected)), "N3: after {sent}");
    }
    let batch = [9, 12, 11, 10].map(|sent| Beat { node_id: node.id, at: at(sent), facts: None });
    some(fleet.store.record_beats(batch.to_vec()).await);
    assert_eq!(seen(&fleet, &node).await, Some(at(12)), "N3: in one batch");
}

/// N3: facts take the place of those held; none leave them; those of a late heartbeat are old news.
pub async fn n3_facts_are_the_latest(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let facts = async || fleet.node(&node.name).await.expect("the node is there").facts;
    let mut first = of_arch("riscv64");
    first.os = Some("linux".into());
    fleet.beat(&node, at(5), Some(first.clone())).await;
    assert_eq!(facts().await, first, "N3: facts are kept");
    fleet.beat(&node, at(6), None).await;
    assert_eq!(facts().await, first, "N3: no facts leave them");
    fleet.beat(&node, at(4), Some(of_arch("old"))).await;
    assert_eq!(facts().await, first, "N3: an overtaken heartbeat changes nothing");
    fleet.beat(&node, at(7), Some(of_arch("aarch64"))).await;
    assert_eq!(facts().await, of_arch("aarch64"), "N3: the latest take their place");
}

/// N3: a heartbeat from before the enrollment is not one of this enrollment.
pub async fn n3_a_heartbeat_of_an_earlier_enrollment_is_none(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    fleet.beat(&node, at(2), None).await;
    let token = fleet.bound("a", at(3)).await;
    let again = fleet.enroll(&Claimant::new(&token, "a").with_key("new"), at(5)).await.node;
    assert_eq!((again.id, again.last_seen_at), (node.id, None), "R4");
    fleet.beat(&again, at(4), Some(of_arch("old"))).await;
    assert_eq!(fleet.node(&name("a")).await, Some(again.clone()), "N3: it came late");
    fleet.beat(&again, at(5), None).await;
    assert_eq!(seen(&fleet, &again).await, Some(at(5)), "N3: at its instant it counts");
}

/// N3: what a clock set that was ahead, and has been put right since, overtakes no heartbeat.
pub async fn n3_a_clock_that_was_ahead_overtakes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let ahead = NodeRecord::CLOCK_LEEWAY.as_secs();
    fleet.beat(&node, at(10 + ahead), Some(of_arch("ahead"))).await;
    fleet.beat(&node, at(10), Some(of_arch("late"))).await;
    assert_eq!(seen(&fleet, &node).await, Some(at(10 + ahead)), "N3: clocks are that far apart");
    fleet.beat(&node, at(9), Some(of_arch("now"))).await;
    let now = fleet.node(&node.name).await.expect("the node is there");
    assert_eq!((now.last_seen_at, now.facts), (Some(at(9)), of_arch("now")), "N3: put right");
    let batch = [10 + ahead, 9].map(|sent| Beat { node_id: node.id, at: at(sent), facts: None });
    some(fleet.store.record_beats(batch.to_vec()).await);
    assert_eq!(seen(&fleet, &node).await, Some(at(9)), "N3: in one batch");
    let token = fleet.bound("a", at(10)).await;
    let again = Claimant::new(&token, "a").with_key("new");
    let again = fleet.enroll(&again, at(20 + ahead)).await.node;
    fleet.beat(&again, at(20), None).await;
    assert_eq!(seen(&fleet, &again).await, None, "N3: of an earlier enrollment");
    fleet.beat(&again, at(19), None).await;
    assert_eq!(seen(&fleet, &again).await, Some(at(19)), "N3: enrolled by a clock put right");
}

/// N3: heartbeats of nodes that are gone are left out, those beside them are not.
pub async fn n3_heartbeats_of_nodes_that_are_gone_are_left_out(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (gone, there) = (fleet.enrolled("gone").await, fleet.enrolled("there").await);
    let _gone = fleet.delete(&gone.name, at(2)).await;
    let anew = fleet.mint(&fleet.make.token(at(3)).bound_to("gone")).await;
    let ids = [gone.id, there.id, fleet.make.node_id(at(0))];
    let beats = ids.map(|node_id| Beat { node_id, at: at(4), facts: None });
    some(fleet.store.record_beats(beats.to_vec()).await);
    some(fleet.store.record_beats(Vec::new()).await);
    assert_eq!(seen(&fleet, &there).await, Some(at(4)), "N3: who is there was heard");
    assert_eq!(fleet.node(&gone.name).await, anew, "N3: another node of the name was not");
}

/// N3: heartbeats of many nodes at once are all recorded, whoever writes them beside whom.
pub async fn n3_heartbeats_beside_each_other_are_all_recorded(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut nodes = Vec::new();
    for number in 0..16 {
        nodes.push(fleet.enrolled(&format!("machine-{number}")).await);
    }
    // Every writer has every node, in an order of its own.
    let writers = (0..8_usize).map(|writer| {
        let mut beats: Vec<Beat> = nodes
            .iter()
            .map(|node| Beat { node_id: node.id, at: at(10 + writer as u64), facts: None })
            .collect();
        beats.rotate_left(2 * writer);
        let fleet = Arc::clone(&fleet);
        async move { some(fleet.store.record_beats(beats).await) }
    });
    race(writers.collect::<Vec<_>>()).await;
    for node in &nodes {
        assert_eq!(seen(&fleet, node).await, Some(at(17)), "N3: {}", node.name);
    }
}

/// N3, I2: an id that is a node's and one that is an identity's are not mixed up.
pub async fn n3_ids_of_another_kind_are_nobodys(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = fleet.enrolled("a").await;
    let as_identity = IdentityId::from_bytes(*node.id.as_bytes());
    let used = some(fleet.store.mark_used(as_identity, at(2)).await);
    assert_eq!(used, UseOutcome::Revoked, "I2: a node's id is no identity's");
    assert_eq!(fleet.node(&node.name).await, Some(node), "I2: and nothing was written");
}
