//! N1 to N4: nodes, as an operator handles them, and their heartbeats.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, at, event, some};
use crate::model::{
    Facts, Health, IdentityId, NodeName, NodeRecord, Reason, Status, Timestamp, TokenStatus,
    TrustState,
};
use crate::store::{
    Beat, DeleteOutcome, NodeCount, NodeFilter, Page, RedeemOutcome, Store, UseOutcome,
};
use crate::testing::{Claimant, name, race, together};

/// N1: of 64 machines that claim one name with one unlimited token at once, one has it.
pub async fn n1_one_node_has_a_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let mut contenders = Vec::new();
    for number in 0..64 {
        let claimant = Claimant::new(&token, "wanted").with_key(&format!("key {number}"));
        let redeem = fleet.approve(&claimant, at(1)).await;
        let fleet = Arc::clone(&fleet);
        contenders.push(async move { fleet.redeem(redeem).await });
    }
    let outcomes = race(contenders).await;
    let won = outcomes.iter().filter(|one| matches!(one, RedeemOutcome::Enrolled(_))).count();
    assert_eq!((won, fleet.token(&token).await.uses), (1, 1), "N1: one name, one winner, one use");
    let nodes = some(fleet.store.nodes(Page::first(10), NodeFilter::default()).await);
    assert_eq!(nodes.len(), 1, "N1");
}

/// N2: a deletion takes the node and all that hangs on it, and nothing else.
pub async fn n2_deletion_takes_all_that_hangs_on_the_node(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let spent = fleet.minted(fleet.make.token(at(0)).bound_to("a")).await;
    let enrolled = fleet.enroll(&Claimant::new(&spent, "a"), at(1)).await;
    let bystander = fleet.unlimited(at(0)).await;
    let other = fleet.enroll(&Claimant::new(&bystander, "b"), at(1)).await;
    let replaced = fleet.bound("a", at(1)).await;
    let unspent = fleet.bound("a", at(1)).await;
    let before = fleet.events().await.len();
    let outcome = fleet.delete(&name("a"), at(2)).await;
    let DeleteOutcome::Deleted(node) = outcome else { panic!("N2: it is there: {outcome:?}") };
    assert_eq!(*node, enrolled.node, "N2: the outcome is the node as it was");
    assert_eq!(fleet.node(&name("a")).await, None, "N2: the node is gone");
    for identity in [&enrolled.x509, &enrolled.api_key] {
        let member = fleet.member(identity).await.expect("I1: a revoked identity is found");
        assert_eq!(member.identity.revoked_at, Some(at(2)), "N2: its identities are revoked");
        assert_eq!(member.node, None, "N2: they are nobody's");
    }
    let status = async |token| fleet.token(token).await.status(at(2));
    assert_eq!(status(&unspent).await, TokenStatus::Revoked, "N2: a good token is revoked");
    assert_eq!(fleet.token(&unspent).await.revoked_at, Some(at(2)), "N2: at that instant");
    assert_eq!(status(&replaced).await, TokenStatus::Replaced, "N2: a replaced one stays so");
    assert_eq!(status(&spent).await, TokenStatus::Consumed, "N2: and a spent one");
    assert_eq!(fleet.events().await[before..], [event("deleted", at(2))], "N2: one event");
    assert!(fleet.is_live(&other.x509).await, "N2: another node stays");
    assert_eq!(status(&bystander).await, TokenStatus::Active, "N2: and an unbound token");
    assert!(fleet.is_open(&bystander, other.redemption).await, "N2: and its window");
}

/// N2: a deletion closes the open windows of the node.
pub async fn n2_deletion_closes_the_windows_of_the_node(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let enrolled = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    assert!(fleet.is_open(&token, enrolled.redemption).await);
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert!(!fleet.is_open(&token, enrolled.redemption).await, "N2");
}

/// N2: a bound token that elapsed unspent before the deletion is revoked by it all the same.
pub async fn n2_deletion_revokes_an_elapsed_token_too(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let elapsed = fleet.minted(fleet.make.token(at(0)).bound_to("a").ttl(Duration::ZERO)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(fleet.token(&elapsed).await.revoked_at, Some(at(2)), "N2");
}

/// N2: a token that a deletion killed answers `revoked` from then on.
pub async fn n2_a_token_killed_by_a_deletion_is_revoked(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.bound("a", at(0)).await;
    let claimant = Claimant::new(&token, "a");
    let redeem = fleet.approve(&claimant, at(3)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    assert_eq!(fleet.lose(&claimant, redeem).await, Reason::Revoked, "N2");
}

/// N2: a name nobody has is not deleted, and is not remembered as deleted.
pub async fn n2_deleting_nobody_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let outcome = fleet.delete(&name("a"), at(2)).await;
    assert!(matches!(outcome, DeleteOutcome::NoSuchNode), "N2: {outcome:?}");
    assert_eq!(fleet.events().await, [], "N2: nothing happened");
    fleet.enroll(&Claimant::new(&token, "a"), at(3)).await;
}

/// N2: of many that delete one node at once, one did.
pub async fn n2_many_deletions_at_once_delete_once(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.bound("a", at(0)).await;
    let deletions = (0..16).map(|_| {
        let fleet = Arc::clone(&fleet);
        async move { fleet.delete(&name("a"), at(1)).await }
    });
    let outcomes = race(deletions.collect::<Vec<_>>()).await;
    let did = outcomes.iter().filter(|one| matches!(one, DeleteOutcome::Deleted(_))).count();
    assert_eq!((did, fleet.events().await.len()), (1, 1), "N2: one deleted, one event");
}

/// N2: after a second deletion it is the second that counts.
pub async fn n2_the_latest_deletion_counts(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for round in [1, 3] {
        fleet.bound("a", at(round)).await;
        let _gone = fleet.delete(&name("a"), at(round + 1)).await;
    }
    let seen = fleet.look_up(&Claimant::by_secret("a"), None).await;
    assert_eq!(seen.name, crate::model::NameState::Deleted { at: at(4) }, "N2");
}

/// N2: an identity of a deleted node is not used again, not even for the first time.
pub async fn n2_an_identity_of_a_deleted_node_is_not_used(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let token = fleet.unlimited(at(0)).await;
    let enrolled = fleet.enroll(&Claimant::new(&token, "a"), at(1)).await;
    let _gone = fleet.delete(&name("a"), at(2)).await;
    let used = some(fleet.store.mark_used(enrolled.x509.id, at(3)).await);
    assert_eq!(used, UseOutcome::Revoked, "N2, I2");
}

/// A node that was enrolled at `at(1)`.
async fn enrolled(fleet: &Fleet, text: &str) -> NodeRecord {
    let token = fleet.unlimited(at(0)).await;
    fleet.enroll(&Claimant::new(&token, text), at(1)).await.node
}

async fn beat(fleet: &Fleet, node: &NodeRecord, at: Timestamp, facts: Option<Facts>) {
    some(fleet.store.record_beats(vec![Beat { node_id: node.id, at, facts }]).await);
}

async fn seen(fleet: &Fleet, node: &NodeRecord) -> Option<Timestamp> {
    fleet.node(&node.name).await.expect("the node is there").last_seen_at
}

fn of_arch(arch: &str) -> Facts {
    Facts { arch: Some(arch.into()), ..Facts::default() }
}

/// N3: heartbeats move forward only, also within one batch.
pub async fn n3_heartbeats_move_forward_only(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = enrolled(&fleet, "a").await;
    assert_eq!(seen(&fleet, &node).await, None, "R4: never heard from");
    for (sent, expected) in [(5, 5), (3, 5), (5, 5), (8, 8), (7, 8)] {
        beat(&fleet, &node, at(sent), None).await;
        assert_eq!(seen(&fleet, &node).await, Some(at(expected)), "N3: after {sent}");
    }
    let batch = [9, 12, 11, 10].map(|sent| Beat { node_id: node.id, at: at(sent), facts: None });
    some(fleet.store.record_beats(batch.to_vec()).await);
    assert_eq!(seen(&fleet, &node).await, Some(at(12)), "N3: in one batch");
}

/// N3: facts take the place of those held; none leave them; those of a late heartbeat are old news.
pub async fn n3_facts_are_the_latest(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = enrolled(&fleet, "a").await;
    let facts = async || fleet.node(&node.name).await.expect("the node is there").facts;
    let mut first = of_arch("riscv64");
    first.os = Some("linux".into());
    beat(&fleet, &node, at(5), Some(first.clone())).await;
    assert_eq!(facts().await, first, "N3: facts are kept");
    beat(&fleet, &node, at(6), None).await;
    assert_eq!(facts().await, first, "N3: no facts leave them");
    beat(&fleet, &node, at(4), Some(of_arch("old"))).await;
    assert_eq!(facts().await, first, "N3: an overtaken heartbeat changes nothing");
    beat(&fleet, &node, at(7), Some(of_arch("aarch64"))).await;
    assert_eq!(facts().await, of_arch("aarch64"), "N3: the latest take their place");
}

/// N3: a heartbeat from before the enrollment is not one of this enrollment.
pub async fn n3_a_heartbeat_of_an_earlier_enrollment_is_none(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = enrolled(&fleet, "a").await;
    beat(&fleet, &node, at(2), None).await;
    let token = fleet.bound("a", at(3)).await;
    let again = fleet.enroll(&Claimant::new(&token, "a").with_key("new"), at(5)).await.node;
    assert_eq!((again.id, again.last_seen_at), (node.id, None), "R4");
    beat(&fleet, &again, at(4), Some(of_arch("old"))).await;
    assert_eq!(fleet.node(&name("a")).await, Some(again.clone()), "N3: it came late");
    beat(&fleet, &again, at(5), None).await;
    assert_eq!(seen(&fleet, &again).await, Some(at(5)), "N3: at its instant it counts");
}

/// N3: heartbeats of nodes that are gone are left out, those beside them are not.
pub async fn n3_heartbeats_of_nodes_that_are_gone_are_left_out(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let (gone, there) = (enrolled(&fleet, "gone").await, enrolled(&fleet, "there").await);
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
        nodes.push(enrolled(&fleet, &format!("machine-{number}")).await);
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

async fn all_pages(fleet: &Fleet, limit: u32, filter: &NodeFilter) -> Vec<NodeName> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = some(fleet.store.nodes(Page { after, limit }, filter.clone()).await);
        assert!(page.len() <= limit as usize, "N4: a page holds {limit} rows at most");
        let Some(last) = page.last() else { return rows };
        after = Some(last.name.clone());
        rows.extend(page.into_iter().map(|node| node.name));
    }
}

fn names(texts: &[&str]) -> Vec<NodeName> {
    texts.iter().map(|text| name(text)).collect()
}

/// N4: nodes are listed by name, byte by byte, page by page, and none twice.
pub async fn n4_nodes_are_listed_by_name(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    // A collation for people would put the hyphen and the dot elsewhere.
    let sorted = ["a", "a-b", "a.b", "a0", "a1.b", "aa", "ab-c", "b", "b-1", "b10", "b9"];
    for text in sorted.iter().rev() {
        fleet.bound(text, at(0)).await;
    }
    for limit in [1, 3, 11, 500] {
        let seen = all_pages(&fleet, limit, &NodeFilter::default()).await;
        assert_eq!(seen, names(&sorted), "N4: by pages of {limit}");
    }
}

/// N4: a filter leaves out what it does not want, before rows are counted.
pub async fn n4_filters_come_before_the_page(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    for text in ["degraded", "ready", "waiting", "cordoned"] {
        let node = enrolled(&fleet, text).await;
        let arch = Some(of_arch(if text == "ready" { "aarch64" } else { "x86_64" }));
        match text {
            "ready" => beat(&fleet, &node, at(100), arch).await,
            "degraded" => beat(&fleet, &node, at(11), arch).await,
            "cordoned" => {
                some(fleet.store.set_cordon(&name(text), true, event("c", at(1))).await);
                beat(&fleet, &node, at(100), arch).await;
            }
            _ => {}
        }
    }
    fleet.bound("pending", at(0)).await;
    let status = |status| (status, at(101), Duration::from_secs(90));
    for (wanted, expected) in [
        (Status::Ready, &["ready"][..]),
        (Status::Degraded, &["degraded"]),
        (Status::Waiting, &["pending", "waiting"]),
        (Status::Cordoned, &["cordoned"]),
    ] {
        let filter = NodeFilter { status: Some(status(wanted)), ..NodeFilter::default() };
        assert_eq!(all_pages(&fleet, 1, &filter).await, names(expected), "N4: {wanted}");
    }
    let barely = Some((Status::Ready, at(101), Duration::from_millis(90_001)));
    let filter = NodeFilter { status: barely, ..NodeFilter::default() };
    let expected = names(&["degraded", "ready"]);
    assert_eq!(all_pages(&fleet, 1, &filter).await, expected, "N4: a longer threshold");
    let filter = NodeFilter { state: Some(TrustState::Pending), ..NodeFilter::default() };
    assert_eq!(all_pages(&fleet, 1, &filter).await, names(&["pending"]), "N4: by state");
    let arch = Some("x86_64".to_owned());
    let filter = NodeFilter { arch: arch.clone(), ..NodeFilter::default() };
    assert_eq!(all_pages(&fleet, 1, &filter).await, names(&["cordoned", "degraded"]), "N4: arch");
    let state = Some(TrustState::Monitoring);
    let degraded = Some((true, at(101), Duration::from_secs(90)));
    let filter = NodeFilter { arch, state, status: Some(status(Status::Degraded)), degraded };
    assert_eq!(all_pages(&fleet, 1, &filter).await, names(&["degraded"]), "N4: all of them");
}

/// N4: who pages while others register sees each node that was there before exactly once, in order.
pub async fn n4_pages_are_stable_under_concurrent_inserts(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let mut before = Vec::new();
    for number in 10..40 {
        let text = format!("machine-{number}");
        fleet.bound(&text, at(0)).await;
        before.push(name(&text));
    }
    let (paging, registering) = (Arc::clone(&fleet), Arc::clone(&fleet));
    let (seen, ()) =
        together(async move { all_pages(&paging, 4, &NodeFilter::default()).await }, async move {
            for number in 10..70 {
                registering.bound(&format!("machine-{number}-late"), at(1)).await;
            }
        })
        .await;
    assert!(seen.is_sorted_by(|one, next| one < next), "N4: in order, none twice");
    let old: Vec<_> = seen.into_iter().filter(|name| before.contains(name)).collect();
    assert_eq!(old, before, "N4: none that was there is left out");
}

/// A cordon is kept, is repeated without a trace, and is taken off again.
pub async fn n_cordon_is_idempotent(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = enrolled(&fleet, "a").await;
    let before = fleet.events().await.len();
    let mut expected = Vec::new();
    for (round, cordoned, changes) in
        [(2, false, false), (3, true, true), (4, true, false), (5, false, true), (6, false, false)]
    {
        let happened = event(&format!("call {round}"), at(round));
        let outcome = some(fleet.store.set_cordon(&node.name, cordoned, happened.clone()).await);
        let wanted = NodeRecord { cordoned, ..node.clone() };
        assert_eq!(outcome, Some(wanted.clone()), "cordon: call {round}");
        assert_eq!(fleet.node(&node.name).await, Some(wanted), "cordon: call {round}");
        expected.extend(changes.then_some(happened));
    }
    assert_eq!(fleet.events().await[before..], expected, "cordon: an event per change");
}

/// A cordon of a name nobody has is told, and is not journalled.
pub async fn n_cordon_of_nobody_writes_nothing(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let outcome = some(fleet.store.set_cordon(&name("a"), true, event("c", at(1))).await);
    assert_eq!((outcome, fleet.events().await), (None, Vec::new()), "cordon: nobody is there");
}

/// Of many that cordon one node at once, one did.
pub async fn n_many_cordons_at_once_are_one_change(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.bound("a", at(0)).await;
    let cordons = (0..32).map(|_| {
        let fleet = Arc::clone(&fleet);
        async move { some(fleet.store.set_cordon(&name("a"), true, event("c", at(1))).await) }
    });
    let outcomes = race(cordons.collect::<Vec<_>>()).await;
    assert!(outcomes.iter().flatten().all(|node| node.cordoned), "cordon: everybody sees it");
    assert_eq!(fleet.events().await, [event("c", at(1))], "cordon: one change, one event");
}

/// N6: nodes are counted by state and health, as a list would show them.
pub async fn n6_counts_are_those_of_the_list(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    fleet.bound("pending", at(0)).await;
    let token = fleet.unlimited(at(0)).await;
    let mut beats = Vec::new();
    for (name, seen) in [("silent", None), ("stale", Some(at(2))), ("live", Some(at(3)))] {
        let node_id = fleet.enroll(&Claimant::new(&token, name), at(1)).await.node.id;
        beats.extend(seen.map(|at| Beat { node_id, at, facts: None }));
    }
    some(fleet.store.record_beats(beats).await);
    let stale_after = Duration::from_secs(10);
    let mut counted = some(fleet.store.count_nodes(at(12), stale_after).await);
    counted.sort_by_key(|count| (count.state, count.health));
    let one = |state, health| NodeCount { state, health, nodes: 1 };
    let expected = [
        one(TrustState::Pending, Health::Waiting),
        one(TrustState::Monitoring, Health::Waiting),
        one(TrustState::Monitoring, Health::Ready),
        one(TrustState::Monitoring, Health::Degraded),
    ];
    assert_eq!(counted, expected, "N6");
}

/// N3, I2: an id that is a node's and one that is an identity's are not mixed up.
pub async fn n3_ids_of_another_kind_are_nobodys(store: Arc<dyn Store>) {
    let fleet = Fleet::new(store);
    let node = enrolled(&fleet, "a").await;
    let as_identity = IdentityId::from_bytes(*node.id.as_bytes());
    let used = some(fleet.store.mark_used(as_identity, at(2)).await);
    assert_eq!(used, UseOutcome::Revoked, "I2: a node's id is no identity's");
    assert_eq!(fleet.node(&node.name).await, Some(node), "I2: and nothing was written");
}
