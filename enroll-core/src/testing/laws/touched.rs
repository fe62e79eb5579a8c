//! I7: where something may have changed since a store was looked at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, at, event, some};
use super::identities::{mark_used, renewed};
use crate::model::{IdentityRecord, NodeId};
use crate::store::{Mark, QueueOutcome, RedeliverOutcome, Store, UseOutcome};
use crate::testing::{Claimant, name, race, scale};

const PATIENCE: Duration = Duration::from_secs(10);

/// The nodes that are named since a mark, which moves on.
async fn touched(fleet: &Fleet, since: &mut Mark) -> Vec<NodeId> {
    let touched = some(fleet.store.touched(Some(*since)).await);
    *since = touched.mark;
    touched.nodes.expect("I7: little has happened since")
}

/// A mark after which nothing was touched. A store may say more than it must, but not for ever.
async fn mark(fleet: &Fleet) -> Mark {
    let mut mark = some(fleet.store.touched(None).await).mark;
    let settled = async {
        while !touched(fleet, &mut mark).await.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("I7: what is past is named no more");
    mark
}

/// Holds that `node` was touched since, whoever asks and however often.
async fn is_named(fleet: &Fleet, since: Mark, node: NodeId, why: &str) {
    for _ in 0..2 {
        let named = touched(fleet, &mut since.clone()).await;
        assert!(named.contains(&node), "I7: {why} touches the node");
    }
}

/// I7: whatever revokes an identity or queues a command names the node.
pub async fn i7_every_way_to_touch_a_node_names_it(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.minted(fleet.make.token(at(0)).bound_to("a")).await;
    let claimant = Claimant::new(&token, "a");
    let one = fleet.enroll(&claimant, at(1)).await;
    let node = one.node.id;

    let since = mark(&fleet).await;
    let outcome = fleet.give_again(fleet.redelivery(&claimant, at(2)).await).await;
    assert!(matches!(outcome, RedeliverOutcome::Redelivered(_)), "R6: the window is open");
    is_named(&fleet, since, node, "a redelivery").await;

    let x509 = IdentityRecord { node_id: node, ..one.x509 };
    let since = mark(&fleet).await;
    renewed(&fleet, &x509).await;
    let successor = renewed(&fleet, &x509).await;
    is_named(&fleet, since, node, "a second renewal").await;

    let since = mark(&fleet).await;
    assert_eq!(mark_used(&fleet, &successor, 3).await, UseOutcome::First, "I2");
    is_named(&fleet, since, node, "a first use of a successor").await;

    let since = mark(&fleet).await;
    let command = super::commands::command(&fleet, &one.node, 2);
    let queued = some(fleet.store.queue_command(command, event("queued", at(2))).await);
    assert_eq!(queued, QueueOutcome::Queued, "Q1");
    is_named(&fleet, since, node, "a command").await;

    let since = mark(&fleet).await;
    let bound = fleet.bound("a", at(4)).await;
    fleet.enroll(&Claimant::new(&bound, "a").with_key("new"), at(4)).await;
    is_named(&fleet, since, node, "another enrollment").await;

    let since = mark(&fleet).await;
    let _deleted = fleet.delete(&name("a"), at(5)).await;
    is_named(&fleet, since, node, "a deletion").await;
}

/// I7: what names nobody: a renewal, a first use, an enrollment under a name of its own.
pub async fn i7_where_nothing_was_taken_nobody_is_named(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let one = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let mut since = mark(&fleet).await;
    fleet.enroll(&Claimant::new(&token, "b"), at(1)).await;
    renewed(&fleet, &one.x509).await;
    assert_eq!(mark_used(&fleet, &one.x509, 2).await, UseOutcome::First, "I2");
    fleet.beat(&one.node, at(3), None).await;
    assert_eq!(touched(&fleet, &mut since).await, [], "I7");
}

/// I7: the first time there is nothing to compare with, nor with a mark that it never gave.
pub async fn i7_without_a_mark_it_cannot_tell(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.enrolled("a").await;
    let first = some(fleet.store.touched(None).await);
    assert_eq!(first.nodes, None, "I7: there is no mark");
    let stray = Mark(first.mark.0 + 1_000_000_000);
    assert_eq!(some(fleet.store.touched(Some(stray)).await).nodes, None, "I7: no mark of its own");
}

/// I7: who asks again and again while many are touched at once hears of every one.
pub async fn i7_of_many_touched_at_once_none_is_left_out(store: Arc<dyn Store>) {
    const MANY: usize = 64;
    let fleet = Fleet::new(store);
    for round in 0..2 * scale() {
        let mut nodes = Vec::new();
        for place in 0..MANY {
            nodes.push(fleet.enrolled(&format!("machine-{round}-{place}")).await);
        }
        let mut since = mark(&fleet).await;
        let deletions = nodes.iter().map(|node| {
            let (fleet, name) = (Arc::clone(&fleet), node.name.clone());
            async move { drop(fleet.delete(&name, at(5)).await) }
        });
        let over = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn({
            let (fleet, over) = (Arc::clone(&fleet), Arc::clone(&over));
            async move {
                let mut named = BTreeSet::new();
                loop {
                    // The last time it asks, all are touched.
                    let last = over.load(Ordering::Acquire);
                    named.extend(touched(&fleet, &mut since).await);
                    if last {
                        return named;
                    }
                }
            }
        });
        race(deletions.collect::<Vec<_>>()).await;
        over.store(true, Ordering::Release);
        let named = asking.await.expect("who asks does not panic");
        let named = nodes.iter().filter(|node| named.contains(&node.id)).count();
        assert_eq!(named, MANY, "I7: all that were touched are named");
    }
}
